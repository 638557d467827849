#pragma once

#include "apps/bench/options.h"
#include "apps/data/compose/options.h"
#include "apps/data/fetch.h"
#include "apps/eval/fewshot/options.h"
#include "apps/eval/generator/options.h"
#include "apps/eval/options.h"
#include "apps/eval/probe/options.h"
#include "apps/eval/spae/options.h"
#include "apps/eval/upsampler/options.h"
#include "apps/eval/words/options.h"
#include "apps/language/options.h"
#include "apps/launch/options.h"
#include "apps/options.h"
#include "apps/plan/options.h"
#include "apps/train/options.h"
#include "apps/txt2img/options.h"
#include "apps/words/options.h"

namespace lexel::cli {

/// The programs' work, behind one exported symbol of liblexel_programs.so. Each entry returns the exit
/// code, after one line on stderr if it is not 0; nothing is thrown across the border.
struct Programs {
  int (*img2tok)(const Img2TokOptions&);
  int (*tok2img)(const Tok2ImgOptions&);
  int (*txt2img)(const Txt2ImgOptions&);
  int (*heatmap)(const HeatmapOptions&);
  int (*words)(const WordsOptions&);
  int (*draw)(const DrawOptions&);
  int (*launch)(const LaunchOptions&);
  int (*plan)(const PlanOptions&);
  int (*info)(const InfoOptions&);
  int (*import)(const ImportOptions&);
  int (*extract_task)(const ExtractTaskOptions&);
  int (*data_fetch)(const data::FetchOptions&);
  int (*data_list)(const data::FetchOptions&);
  int (*data_compose)(const data::ComposeOptions&);
  int (*eval_tokenizer)(const EvalTokenizerOptions&);
  int (*eval_fewshot)(const EvalFewshotOptions&);
  int (*eval_generator)(const EvalGeneratorOptions&);
  int (*eval_probe)(const EvalProbeOptions&);
  int (*eval_spae)(const EvalSpaeOptions&);
  int (*eval_upsampler)(const EvalUpsamplerOptions&);
  int (*eval_words)(const EvalWordsOptions&);
  int (*train_tokenizer)(const TrainOptions&);
  int (*train_text)(const TrainTextOptions&);
  int (*train_generator)(const TrainGeneratorOptions&);
  int (*train_detector)(const TrainDetectorOptions&);
  int (*train_upsampler)(const TrainUpsamplerOptions&);
  int (*train_scorer)(const TrainScorerOptions&);
  int (*train_guide)(const TrainGuideOptions&);
  int (*train_spae)(const TrainSpaeOptions&);
  int (*train_pack)(const TrainPackOptions&);
  int (*train_results)(const TrainResultsOptions&);
};

/// The table, from the library beside this executable, which is loaded now: LibTorch takes a third of a
/// second to start, so help, versions and usage errors come before this call.
/// throws   Error(kInternal) when the installation is broken
const Programs& load_programs();

inline constexpr const char* kProgramsSymbol = "lexel_programs";

/// `lexel bench`, the one function of liblexel_bench.so, which is loaded now.
/// returns  the exit code, after one line on stderr if it is not 0
/// throws   Error(kUnsupported) when this build has no such library
int run_bench(const bench::BenchOptions& options);

inline constexpr const char* kBenchSymbol = "lexel_bench";

}  // namespace lexel::cli
