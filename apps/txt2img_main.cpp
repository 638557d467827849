#include "apps/command_line.h"
#include "apps/programs.h"

namespace lexel::cli {
namespace {

void define_inputs(CLI::App& app, Txt2ImgOptions& options) {
  CLI::Option* captions =
      app.add_option("captions", options.captions,
                     "What to draw, each in quotes; - reads stdin, one a line. Of a "
                     "generator of classes: their numbers")
          ->option_text("CAPTION...");
  CLI::Option* prompts =
      app.add_option("--prompts", options.prompts, "File with one caption a line")
          ->excludes(captions)
          ->option_text("FILE");
  app.add_option("--like", options.like,
                 "Draw this picture of txt2img again, bit for bit, by the record in its PNG file")
      ->excludes(captions)
      ->excludes(prompts)
      ->option_text("PICTURE");
  app.add_option("-m,--model", options.model, "Generator (default: the shipped parti-128)")
      ->option_text("FILE");
  app.add_option("--tokenizer", options.tokenizer,
                 "Picture tokenizer it was trained with (default: the shipped lexel-128)")
      ->option_text("FILE");
}

void define_outputs(CLI::App& app, Txt2ImgOptions& options) {
  app.add_option(
         "-o,--output", options.output,
         "A picture (.png keeps the record, .jpg, .webp), a folder for many, or - (stdout); "
         "default: named after the caption, and said")
      ->option_text("OUTPUT");
  app.add_option("--grid", options.grid, "Contact sheet of all pictures, captions beneath")
      ->option_text("FILE");
  app.add_option("--tokens", options.tokens, "Also write a token file, for tok2img")
      ->option_text("FILE");
  CLI::Option* preview = app.add_option("--preview", options.preview,
                                        "Folder for the pictures so far, while they are drawn")
                             ->option_text("FOLDER");
  app.add_option("--preview-every", options.preview_every, "Tokens from one to the next")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
      ->needs(preview)
      ->option_text("N [32]");
  add_device_option(app, options.device);
  app.add_option("--mesh", options.mesh,
                 "Ranks of lexel launch, torchrun, mpirun or srun that share the generator, as in "
                 "tensor=2 (default: all that run); the picture is that of one")
      ->option_text("tensor=N");
  app.add_option("--timeout", options.timeout,
                 "Seconds after which a rank that others wait for is taken for dead")
      ->check(CLI::Range(0.1, 1e6))
      ->option_text("S [600]");
  add_quiet_option(app, options.quiet);
}

/// What decides how a picture looks. All of it is in a picture's record, so --like takes none.
void define_drawing(CLI::App& app, Txt2ImgOptions& options) {
  CLI::Option* like = app.get_option("--like");
  app.add_option("-n,--count", options.count, "Pictures a caption")
      ->check(CLI::Range(int64_t{1}, int64_t{1'000'000}))
      ->excludes(like)
      ->option_text("N [1]");
  app.add_option("--seed", options.seed, "Another seed, other pictures; the same one, the same")
      ->check(number_from(0, 0x1p64))  // CLI11 alone reads -1 as the largest one
      ->excludes(like)
      ->option_text("N [0]");
  app.add_option("--guidance", options.guidance,
                 "How closely to follow the caption; 1: no more than learnt")
      ->check(number_from(0, 100))
      ->excludes(like)
      ->option_text("X [2]");
  app.add_option("--guidance-schedule", options.schedule,
                 "Guidance over the picture: the same everywhere, or rising from 1")
      ->check(CLI::IsMember({"constant", "cosine"}))
      ->excludes(like)
      ->option_text("constant|cosine [constant]");
  app.add_option("--temperature", options.temperature, "Less is plainer, 0 the likeliest tokens")
      ->check(number_from(0, 100))
      ->excludes(like)
      ->option_text("X [1]");
  app.add_option("--top-k", options.top_k, "Draw from the N likeliest tokens only (0: all)")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 20))
      ->excludes(like)
      ->option_text("N [0]");
  app.add_option("--top-p", options.top_p,
                 "Draw from the likeliest tokens that sum to this probability")
      ->check(number_from(1e-6, 1))
      ->excludes(like)
      ->option_text("X [1]");
  app.add_option("--precision", options.precision, "Of the generator's matrices")
      ->check(CLI::IsMember({"int8", "bf16", "fp32"}))
      ->excludes(like)
      ->option_text("int8|bf16|fp32 [int8]");
  app.add_option("--cache", options.cache, "Of the keys and values that are kept")
      ->check(CLI::IsMember({"int8", "bf16", "fp32"}))
      ->excludes(like)
      ->option_text("int8|bf16|fp32 [bf16]");
  CLI::Option* rerank = app.add_option("--rerank", options.rerank,
                                       "Draw N candidates, keep the one that fits its caption best")
                            ->check(CLI::Range(int64_t{1}, int64_t{4096}))
                            ->excludes(like)
                            ->option_text("N [1]");
  app.add_option("--scorer", options.scorer, "Model that ranks them (default: the shipped one)")
      ->needs(rerank)
      ->option_text("FILE");
  app.add_option("--upscale", options.upscale,
                 "Model that makes the pictures larger (kind upsampler)")
      ->option_text("FILE");
}

void define_editing(CLI::App& app, Txt2ImgOptions& options) {
  CLI::Option* edit =
      app.add_option("--edit", options.edit, "Photo to redraw in part (its centre square)")
          ->option_text("PHOTO");
  CLI::Option* mask =
      app.add_option("--mask", options.mask, "Picture of the photo's size, white where to redraw")
          ->needs(edit)
          ->option_text("FILE");
  app.add_option("--keep-top", options.keep_top,
                 "Keep the photo's first N rows of tokens, draw the rest")
      ->check(CLI::Range(int64_t{1}, int64_t{4096}))
      ->needs(edit)
      ->excludes(mask)
      ->excludes(app.get_option("--like"))
      ->option_text("N");
}

void check_together(const Txt2ImgOptions& options) {
  if (options.captions.empty() && options.prompts.empty() && options.like.empty())
    throw CLI::RequiredError("CAPTION, --prompts or --like");
  if (!options.edit.empty() && options.mask.empty() && options.keep_top == 0 &&
      options.like.empty())
    throw CLI::RequiredError("--mask or --keep-top, with --edit,");
}

}  // namespace
}  // namespace lexel::cli

int main(int argc, char** argv) {
  using namespace lexel::cli;
  Txt2ImgOptions options;
  const auto define = [&](CLI::App& app) {
    define_inputs(app, options);
    define_outputs(app, options);
    define_drawing(app, options);
    define_editing(app, options);
    app.callback([&options] { check_together(options); });
    app.footer(
        "Examples:\n"
        "  txt2img \"a red fish above a house\"\n"
        "  txt2img \"a red fish\" \"two green cars\" --count 4 --grid sheet.png\n"
        "  txt2img --prompts captions.txt --seed 7 --rerank 16 -o pictures/\n"
        "  txt2img --like fish.png -o again.png\n"
        "  txt2img \"a hat\" --edit photo.jpg --mask mask.png -o hat.png\n"
        "  lexel launch -n 2 -- txt2img \"a red fish\" -o fish.png\n"
        "Exit code: 0 done, 1 internal, 2 usage, 3 bad data, 4 input/output, 5 unsupported");
  };
  return run_command_line("txt2img", "[OPTIONS] CAPTION...", "Captions to pictures.", argc, argv,
                          define, [&] {
                            if (options.model.empty()) options.model = default_generator_path();
                            if (options.tokenizer.empty()) options.tokenizer = default_model_path();
                            if (options.scorer.empty()) options.scorer = default_scorer_path();
                            return load_programs().txt2img(options);
                          });
}
