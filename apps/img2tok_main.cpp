#include "apps/command_line.h"
#include "apps/programs.h"

int main(int argc, char** argv) {
  using namespace lexel::cli;
  Img2TokOptions options;
  std::vector<std::string> paths;
  const auto define = [&](CLI::App& app) {
    app.add_option(
           "paths", paths,
           "Pictures (JPEG, PNG, WebP, BMP, GIF, PNM), folders, tars, .txt lists or - (stdin); "
           "last the file to write, or - (stdout)")
        ->required()
        ->expected(2, -1)
        ->option_text("INPUT... OUTPUT");
    add_model_option(app, options.model);
    add_device_option(app, options.device);
    add_batch_option(app, options.batch);
    app.add_option("--format", options.format, "Form of the output (default: by its extension)")
        ->check(CLI::IsMember({"safetensors", "npy", "json", "text"}))
        ->option_text("safetensors|npy|json|text");
    app.add_option("--layers", options.layers,
                   "Only the first layers of a model with layers: --format text --layers 2 prints "
                   "the first five words")
        ->check(CLI::Range(int64_t{1}, int64_t{16}))
        ->option_text("N [all]");
    app.add_option(
           "--fit", options.fit,
           "How a picture of any size meets the model's square: crop the centre, pad, stretch, or "
           "cover it with tiles (default: as the model file says)")
        ->check(CLI::IsMember({"crop", "pad", "stretch", "tiles"}))
        ->option_text("crop|pad|stretch|tiles");
    app.add_option("--threads", options.threads, "Threads that decode pictures (0: one a core)")
        ->check(CLI::Range(int64_t{0}, int64_t{256}))
        ->option_text("N [0]");
    app.add_flag("--skip-bad", options.skip_bad,
                 "Leave out pictures that cannot be read, and list them with the reason");
    add_quiet_option(app, options.quiet);
    app.footer(
        "Examples:\n"
        "  img2tok photo.jpg photo.tok.safetensors\n"
        "  img2tok --skip-bad --fit tiles holiday/ holiday.tok.safetensors\n"
        "  img2tok --format text cat.png -\n"
        "  img2tok --model spae --layers 2 cat.png words.txt\n"
        "Exit code: 0 done, 1 internal, 2 usage, 3 bad data, 4 input/output, 5 unsupported");
  };
  return run_command_line(
      "img2tok", "[OPTIONS] INPUT... OUTPUT", "Pictures to tokens.", argc, argv, define, [&] {
        options.output = paths.back();
        options.inputs.assign(paths.begin(), paths.end() - 1);
        options.model = options.model.empty() ? default_model_path() : model_path(options.model);
        return load_programs().img2tok(options);
      });
}
