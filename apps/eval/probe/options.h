#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lexel::cli {

/// What `lexel eval probe` was asked for, as plain data (see apps/options.h).
struct EvalProbeOptions {
  std::string generator;
  std::string tokenizer;  // picture tokenizer; empty: the shipped one
  std::vector<std::string>
      data;            // WebDataset tars with "class" or "caption" and "split" in their JSON
  std::string output;  // JSON report; empty: none
  std::string blocks = "middle";  // decoder blocks to probe: "middle", "all", or a number
  int64_t train = 20000;          // pictures to learn from at most; 0: all
  int64_t test = 10000;           // held-out pictures at most; 0: all
  std::string device = "auto";
  int64_t batch = 64;
  bool quiet = false;
};

/// Linear probe: how well a linear classifier tells the classes of held-out pictures from the mean output of a decoder block,
/// beside the same classifier on pixels and on tokens; a table on stdout, JSON on request. Nothing in it is random.
///
/// returns  0
/// throws   what loading throws; Error(kBadData) a generator of another tokenizer; Error(kUsage) data without two classes or
///          without held-out pictures
/// source   Yu et al. 2021, arXiv:2110.04627, section 4.2
int run_eval_probe(const EvalProbeOptions& options);

}  // namespace lexel::cli
