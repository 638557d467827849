#include "apps/data/command.h"

namespace lexel::cli {

CLI::App* define_data(CLI::App& lexel, data::FetchOptions& options) {
  CLI::App* data = lexel.add_subcommand("data", "Real pictures out of Debian's packages");
  data->require_subcommand(1);
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
  CLI::App* list = data->add_subcommand("list", "The sets: pictures, licence, what they are");
  list->add_option("--output", options.output, "Folder of the tars")->option_text("FOLDER [data]");
  list->footer("Example: lexel data list");
  return data;
}

}  // namespace lexel::cli
