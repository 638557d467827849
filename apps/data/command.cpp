#include "apps/data/command.h"

#include "apps/command_line.h"

namespace lexel::cli {

namespace {

void define_fetch(CLI::App* data, data::FetchOptions& options) {
  CLI::App* fetch = data->add_subcommand(
      "fetch", "Download packages (no root needed) and pack their pictures as WebDataset tars");
  fetch->add_option("sets", options.sets, "Names of `lexel data list`, or all")
      ->required()
      ->option_text("SET...");
  fetch->add_option("--output", options.output, "Folder for the tars")
      ->option_text("FOLDER [data]");
  fetch->add_option("--debs", options.debs, "Folder with .deb files that are used before apt-get")
      ->option_text("FOLDER");
  fetch->add_flag("--force", options.force, "Also sets that are there already");
  fetch->footer(
      "Each set becomes SET-train-00000.tar and SET-heldout-00000.tar: pictures with caption, "
      "source and\n"
      "licence as JSON. Held-out pictures are the same for good, and no recipe trains on them.\n"
      "Example: lexel data fetch wallpapers skimage opencv-doc");
}

void define_list(CLI::App* data, data::FetchOptions& options) {
  CLI::App* list = data->add_subcommand("list", "The sets: pictures, licence, what they are");
  list->add_option("--output", options.output, "Folder of the tars")->option_text("FOLDER [data]");
  list->footer("Example: lexel data list");
}

void define_compose(CLI::App* data, data::ComposeOptions& options) {
  CLI::App* compose = data->add_subcommand(
      "compose", "Compose captioned scenes with known truth, as many as wanted");
  data::ComposeConfig& config = options.config;
  compose->add_option("--sprites", options.sprites, "Tar of `lexel data fetch sprites`")
      ->option_text("TAR [data/sprites.tar]");
  compose
      ->add_option("--backgrounds", options.backgrounds, "Pictures for backgrounds: tars, folders")
      ->option_text("TAR...");
  compose->add_option("--output", options.output, "WebDataset tar to write")->option_text("TAR");
  compose->add_option("--sheet", options.sheet, "Contact sheet of the first 64 with their captions")
      ->option_text("PNG");
  compose->add_option("--count", options.count, "Number of scenes")
      ->check(CLI::Range(int64_t{1}, int64_t{10'000'000}))
      ->option_text("N [1000]");
  compose->add_option("--first", options.first, "Number of the first scene")
      ->check(CLI::NonNegativeNumber)
      ->option_text("N [0]");
  compose->add_option("--seed", options.seed, "Another seed, other scenes")
      ->check(number_from(0, 0x1p64))  // CLI11 alone reads -1 as the largest one
      ->option_text("N [0]");
  compose->add_option("--split", options.split, "train, or heldout: what no training scene shows")
      ->check(CLI::IsMember({"train", "heldout"}))
      ->option_text("SPLIT [train]");
  compose->add_option("--canvas", config.canvas, "Side of the pictures")
      ->check(CLI::Range(int64_t{32}, int64_t{1024}))
      ->option_text("PIXELS [128]");
  compose->add_option("--grid", config.grid, "Things stand on multiples of it; 1: anywhere")
      ->check(CLI::Range(int64_t{1}, int64_t{341}))
      ->option_text("PIXELS [8]");
  compose->add_flag("--quiet", options.quiet, "No progress line");
  compose->callback([&options] {
    if (options.output.empty() && options.sheet.empty())
      throw CLI::RequiredError("--output TAR or --sheet PNG");
  });
  compose->footer(
      "Scene n is the same whatever the count; a held-out scene has a relation, a count or a "
      "sentence\nthat no training scene has, and says which.\n"
      "Example: lexel data compose --count 10000 --output scenes.tar --sheet scenes.png");
}

}  // namespace

void define_data(CLI::App& lexel, DataCommands& commands) {
  CLI::App* data =
      lexel.add_subcommand("data", "Real pictures out of Debian's packages, and composed scenes");
  data->require_subcommand(1);
  define_fetch(data, commands.fetch);
  define_list(data, commands.fetch);
  define_compose(data, commands.compose);
}

}  // namespace lexel::cli
