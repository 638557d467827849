#include "apps/command_line.h"
#include "apps/programs.h"

int main(int argc, char** argv) {
  using namespace lexel::cli;
  Tok2ImgOptions options;
  const auto define = [&](CLI::App& app) {
    app.add_option("tokens", options.tokens,
                   "Token file of img2tok, or its words as text, or - (stdin)")
        ->required()
        ->option_text("TOKENS");
    app.add_option(
           "output", options.output,
           "A picture (.png, .jpg, .webp), or a folder: the pictures by their original names")
        ->option_text("OUTPUT");
    add_model_option(app, options.model);
    add_device_option(app, options.device);
    add_batch_option(app, options.batch);
    app.add_option("--layers", options.layers,
                   "Draw by the first layers only, where tokens come in layers")
        ->check(CLI::Range(int64_t{1}, int64_t{16}))
        ->option_text("N [all]");
    app.add_option("--sheet", options.sheet, "Also write a contact sheet of all pictures")
        ->option_text("FILE");
    app.add_option("--originals", options.originals,
                   "Files, folders or tars that were tokenized: put each beside its reconstruction")
        ->option_text("PATH...");
    app.add_option("--extension", options.extension, "Of the pictures written into a folder")
        ->check(CLI::IsMember({"png", "jpg", "webp"}))
        ->option_text("png|jpg|webp [png]");
    add_quiet_option(app, options.quiet);
    app.footer(
        "Examples:\n"
        "  tok2img photo.tok.safetensors back.png\n"
        "  tok2img holiday.tok.safetensors holiday-back/\n"
        "  tok2img --model spae --layers 5 words.txt cat.png\n"
        "  tok2img holiday.tok.safetensors --sheet sheet.png --originals holiday/\n"
        "Exit code: 0 done, 1 internal, 2 usage, 3 bad data, 4 input/output, 5 unsupported");
  };
  return run_command_line(
      "tok2img", "[OPTIONS] TOKENS [OUTPUT]", "Tokens back to pictures.", argc, argv, define, [&] {
        options.model = options.model.empty() ? default_model_path() : model_path(options.model);
        return load_programs().tok2img(options);
      });
}
