#pragma once

#include <CLI/CLI.hpp>

#include "apps/eval/fewshot/options.h"
#include "apps/eval/generator/options.h"
#include "apps/eval/options.h"
#include "apps/eval/probe/options.h"
#include "apps/eval/spae/options.h"
#include "apps/eval/upsampler/options.h"
#include "apps/eval/words/options.h"

namespace lexel::cli {

/// What `lexel eval` was asked for: one of them, by the subcommand.
struct EvalCommands {
  EvalTokenizerOptions tokenizer;
  EvalFewshotOptions fewshot;
  EvalGeneratorOptions generator;
  EvalProbeOptions probe;
  EvalSpaeOptions spae;
  EvalUpsamplerOptions upsampler;
  EvalWordsOptions words;
};

/// `lexel eval` with a subcommand a kind of measurement, as a subcommand of `lexel`; `options` are filled by a clean parse.
/// returns  the subcommand "eval"
CLI::App* define_eval(CLI::App& lexel, EvalCommands& options);

}  // namespace lexel::cli
