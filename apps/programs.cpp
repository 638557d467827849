#include "apps/programs.h"

#include <iostream>
#include <sstream>

#include "apps/data/compose/write_scenes.h"
#include "apps/extract_task.h"
#include "apps/guarded.h"
#include "apps/img2tok.h"
#include "apps/import.h"
#include "apps/info.h"
#include "apps/launch/launch.h"
#include "apps/spool.h"
#include "apps/tok2img.h"
#include "apps/words/words.h"

namespace lexel::cli {
namespace {

/// One entry of the table: runs `work`, turns what it throws into a line on stderr and an exit code.
template <class Options, int (*work)(const Options&)>
int entry(const char* name, const Options& options) {
  return guarded(name, [&] { return work(options); });
}

int fetch_data(const data::FetchOptions& options) {
  data::run_data_fetch(options, std::cerr);
  return 0;
}

int list_data(const data::FetchOptions& options) {
  std::ostringstream table;
  data::run_data_list(options.output, table);
  write_stdout(table.str());
  return 0;
}

int compose_data(const data::ComposeOptions& options) {
  data::run_data_compose(options);
  return 0;
}

const Programs kPrograms = {
    [](const Img2TokOptions& o) { return entry<Img2TokOptions, run_img2tok>("img2tok", o); },
    [](const Tok2ImgOptions& o) { return entry<Tok2ImgOptions, run_tok2img>("tok2img", o); },
    [](const Txt2ImgOptions& o) { return entry<Txt2ImgOptions, run_txt2img>("txt2img", o); },
    [](const HeatmapOptions& o) { return entry<HeatmapOptions, run_heatmap>("lexel heatmap", o); },
    [](const WordsOptions& o) { return entry<WordsOptions, run_words>("lexel words", o); },
    [](const DrawOptions& o) { return entry<DrawOptions, run_draw>("lexel draw", o); },
    [](const LaunchOptions& o) { return entry<LaunchOptions, run_launch>("lexel launch", o); },
    [](const PlanOptions& o) { return entry<PlanOptions, run_plan>("lexel plan", o); },
    [](const InfoOptions& o) { return entry<InfoOptions, run_info>("lexel info", o); },
    [](const ImportOptions& o) { return entry<ImportOptions, run_import>("lexel import", o); },
    [](const ExtractTaskOptions& o) {
      return entry<ExtractTaskOptions, run_extract_task>("lexel extract-task", o);
    },
    [](const data::FetchOptions& o) {
      return entry<data::FetchOptions, fetch_data>("lexel data fetch", o);
    },
    [](const data::FetchOptions& o) {
      return entry<data::FetchOptions, list_data>("lexel data list", o);
    },
    [](const data::ComposeOptions& o) {
      return entry<data::ComposeOptions, compose_data>("lexel data compose", o);
    },
    [](const EvalTokenizerOptions& o) {
      return entry<EvalTokenizerOptions, run_eval_tokenizer>("lexel eval tokenizer", o);
    },
    [](const EvalFewshotOptions& o) {
      return entry<EvalFewshotOptions, run_eval_fewshot>("lexel eval spae-fewshot", o);
    },
    [](const EvalGeneratorOptions& o) {
      return entry<EvalGeneratorOptions, run_eval_generator>("lexel eval generator", o);
    },
    [](const EvalProbeOptions& o) {
      return entry<EvalProbeOptions, run_eval_probe>("lexel eval probe", o);
    },
    [](const EvalSpaeOptions& o) {
      return entry<EvalSpaeOptions, run_eval_spae>("lexel eval spae", o);
    },
    [](const EvalUpsamplerOptions& o) {
      return entry<EvalUpsamplerOptions, run_eval_upsampler>("lexel eval upsampler", o);
    },
    [](const EvalWordsOptions& o) {
      return entry<EvalWordsOptions, run_eval_words>("lexel eval words", o);
    },
    [](const TrainOptions& o) {
      return entry<TrainOptions, run_train_tokenizer>("lexel train tokenizer", o);
    },
    [](const TrainTextOptions& o) {
      return entry<TrainTextOptions, run_train_text>("lexel train text", o);
    },
    [](const TrainGeneratorOptions& o) {
      return entry<TrainGeneratorOptions, run_train_generator>("lexel train generator", o);
    },
    [](const TrainDetectorOptions& o) {
      return entry<TrainDetectorOptions, run_train_detector>("lexel train detector", o);
    },
    [](const TrainUpsamplerOptions& o) {
      return entry<TrainUpsamplerOptions, run_train_upsampler>("lexel train upsampler", o);
    },
    [](const TrainScorerOptions& o) {
      return entry<TrainScorerOptions, run_train_scorer>("lexel train scorer", o);
    },
    [](const TrainGuideOptions& o) {
      return entry<TrainGuideOptions, run_train_guide>("lexel train guide", o);
    },
    [](const TrainSpaeOptions& o) {
      return entry<TrainSpaeOptions, run_train_spae>("lexel train spae", o);
    },
    [](const TrainPackOptions& o) {
      return entry<TrainPackOptions, run_train_pack>("lexel train pack", o);
    },
    [](const TrainResultsOptions& o) {
      return entry<TrainResultsOptions, run_train_results>("lexel train results", o);
    },
};

}  // namespace
}  // namespace lexel::cli

extern "C" const lexel::cli::Programs* lexel_programs();
const lexel::cli::Programs* lexel_programs() { return &lexel::cli::kPrograms; }
