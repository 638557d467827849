#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

namespace lexel::cli {

/// A program's command line with the house rules: --help on stdout with exit 0, --version, one line on
/// stderr and exit 2 for anything that cannot be parsed.
///
/// usage    what follows the name: "[OPTIONS] INPUT... OUTPUT"
/// define   adds options to the app
/// run      does the work after a clean parse; returns the exit code
/// returns  the exit code of the process
int run_command_line(const std::string& name, const std::string& usage, const std::string& summary,
                     int argc, char** argv, const std::function<void(CLI::App&)>& define,
                     const std::function<int()>& run);

/// --model, --device, --batch and --quiet, with the same words in every program.
void add_model_option(CLI::App& app, std::string& model);
void add_device_option(CLI::App& app, std::string& device);
void add_batch_option(CLI::App& app, int64_t& batch);
void add_quiet_option(CLI::App& app, bool& quiet);

/// What ships with Lexel: share/lexel/ beside an installed program, assets/ of the source tree otherwise.
std::string shipped_file(const std::string& name);

/// The shipped models: of pictures, of captions to pictures, the one that ranks pictures by captions, and of
/// pictures as words.
std::string default_model_path();
std::string default_generator_path();
std::string default_scorer_path();
std::string default_words_path();

/// The file that --model means: a path where there is a file, else the shipped model of that name ("spae" is
/// spae-128.safetensors), else what was given, for the message of who opens it.
std::string model_path(const std::string& model);

/// Refuses what is not a number, "nan" and "inf" too, or not from `low` to `high`.
CLI::Validator number_from(double low, double high);

}  // namespace lexel::cli
