#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lexel::cli {

/// What every `lexel train KIND` by a recipe was asked for; each kind has it beside its own. Values below 0 and empty texts mean "as
/// the recipe says".
struct TrainTaskOptions {
  std::string recipe;                 // path of a recipe; with resume, of none
  std::string output;                 // folder of the run
  bool resume = false;                // go on from the checkpoint in `output`
  std::vector<std::string> settings;  // "key=value" of recipe fields
  double minutes = -1;
  int64_t steps = -1;
  int64_t batch = -1;
  int64_t seed = -1;
  std::string device = "auto";  // "cpu", "cuda", "auto"
  std::string mesh;      // "data=2,tensor=2": how the ranks are laid out; empty: all along data
  double timeout = 600;  // seconds that a rank waits for another in a collective
  std::string command;   // the command line, for the model's provenance
  bool quiet = false;
};

}  // namespace lexel::cli
