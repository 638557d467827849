#include "apps/command_line.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <memory>
#include <system_error>

#include "apps/guarded.h"
#include "kernels/check.h"

namespace lexel::cli {
namespace {

/// CLI11's message as one line in the house style: lower case first, no line breaks, no full stop.
std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  while (!text.empty() && (text.back() == '.' || text.back() == ' ')) text.pop_back();
  if (text.size() > 1 && std::isupper(static_cast<unsigned char>(text[0])) != 0 &&
      std::islower(static_cast<unsigned char>(text[1])) != 0) {
    text[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(text[0])));
  }
  return text;
}

/// CLI11 would only say that a command is required.
void refuse_unknown_command(const CLI::App& app, int argc, char** argv) {
  const auto commands = app.get_subcommands({});
  if (commands.empty() || argc < 2 || argv[1][0] == '-') return;
  std::string known;
  for (const CLI::App* command : commands) {
    if (command->check_name(argv[1])) return;
    known += concat(known.empty() ? "" : ", ", command->get_name());
  }
  throw CLI::ExtrasError(concat("unknown command ", argv[1], "; expected ", known),
                         CLI::ExitCodes::ExtrasError);
}

/// CLI11's layout with a usage line of our own for the program itself (not for its commands).
class HouseFormatter : public CLI::Formatter {
 public:
  explicit HouseFormatter(std::string usage) : usage_(std::move(usage)) { column_width(34); }
  std::string make_usage(const CLI::App* app, std::string name) const override {
    if (app->get_parent() != nullptr) return CLI::Formatter::make_usage(app, name);
    return concat("Usage: ", name, " ", usage_, "\n");
  }

 private:
  std::string usage_;
};

}  // namespace

int run_command_line(const std::string& name, const std::string& usage, const std::string& summary,
                     int argc, char** argv, const std::function<void(CLI::App&)>& define,
                     const std::function<int()>& run) {
  CLI::App app(summary, name);
  app.set_version_flag("--version", concat(name, " ", LEXEL_VERSION));
  app.formatter(std::make_shared<HouseFormatter>(usage));
  define(app);
  try {
    refuse_unknown_command(app, argc, argv);
    app.parse(argc, argv);
  } catch (const CLI::Success& request) {
    return app.exit(request);  // --help and --version
  } catch (const CLI::ParseError& error) {
    std::cerr << name << ": " << one_line(error.what()) << " (see " << name << " --help)\n";
    return static_cast<int>(ErrorKind::kUsage);
  }
  return guarded(name, run);
}

void add_model_option(CLI::App& app, std::string& model) {
  app.add_option("-m,--model", model,
                 "Model file, or a shipped model's name: lexel, spae (default: lexel)")
      ->option_text("FILE");
}

void add_device_option(CLI::App& app, std::string& device) {
  app.add_option("--device", device, "auto, cpu, cuda or cuda:N")->option_text("DEVICE [auto]");
}

void add_batch_option(CLI::App& app, int64_t& batch) {
  app.add_option("--batch", batch, "Pictures a forward pass; never changes a result")
      ->check(CLI::Range(int64_t{1}, int64_t{4096}))
      ->option_text("N [32]");
}

void add_quiet_option(CLI::App& app, bool& quiet) {
  app.add_flag("-q,--quiet", quiet, "No progress bar and no notes on stderr");
}

std::string shipped_file(const std::string& name) {
  std::error_code ignored;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", ignored);
  const auto installed = program.parent_path().parent_path() / "share/lexel" / name;
  if (std::filesystem::exists(installed, ignored)) return installed.string();
  return LEXEL_ASSETS_DIR "/" + name;
}

std::string default_model_path() { return shipped_file("lexel-128.safetensors"); }
std::string default_generator_path() { return shipped_file("parti-128.safetensors"); }
std::string default_scorer_path() { return shipped_file("scorer-128.safetensors"); }
std::string default_words_path() { return shipped_file("spae-128.safetensors"); }

std::string model_path(const std::string& model) {
  std::error_code ignored;
  const bool folder = std::filesystem::is_directory(model, ignored);  // such as spae/ of the source
  if (model.empty() || (!folder && std::filesystem::exists(model, ignored))) return model;
  for (const char* const end : {".safetensors", "-128.safetensors"}) {
    const std::string shipped = shipped_file(model + end);
    if (std::filesystem::exists(shipped, ignored)) return shipped;
  }
  return model;
}

CLI::Validator number_from(double low, double high) {
  const auto refuse = [low, high](const std::string& text) {
    double value = 0;
    const bool read = CLI::detail::lexical_cast(text, value) && std::isfinite(value);
    return read && value >= low && value <= high
               ? std::string()
               : concat("expected a number from ", low, " to ", high, ", got ", text);
  };
  return {refuse, ""};
}

}  // namespace lexel::cli
