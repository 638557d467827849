#include "apps/eval/spae/report.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <numeric>
#include <sstream>

#include "apps/eval/metrics.h"
#include "apps/eval/paired_frechet.h"
#include "apps/train/guide/word_match.h"

namespace lexel::eval {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFrechet = "Frechet distance";
constexpr const char* kScore = "guide's score";

/// Mean over the pictures that are not of one colour: those a mosaic draws without any error.
double mean(const std::vector<double>& values, const Layerwise& set) {
  double sum = 0.0;
  int64_t count = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(set.mosaic_psnr[i])) continue;
    sum += values[i];
    ++count;
  }
  return count == 0 ? 0.0 : sum / static_cast<double>(count);
}

double frechet(const at::Tensor& a, const at::Tensor& b) {
  std::vector<int64_t> all(static_cast<size_t>(a.size(0)));
  std::iota(all.begin(), all.end(), 0);
  return PairedFrechet(a, b).distance(all);
}

Json share(double value, int64_t of) {
  const Interval interval = wilson_interval(std::llround(value * static_cast<double>(of)), of);
  return {{"value", interval.estimate}, {"low", interval.low}, {"high", interval.high}};
}

int64_t words_used(const CodebookStatistics& used, const spae::Model& model) {
  return std::llround(used.usage * static_cast<double>(model.config.num_words));
}

Json layer_report(const spae::Model& model, const Layerwise& set, size_t layer) {
  const auto n = static_cast<int64_t>(layer) + 1;
  const int64_t first = model.pyramid.tokens(n - 1), tokens = model.pyramid.tokens(n);
  const CodebookStatistics used = codebook_statistics(
      set.ids.narrow(1, first, tokens - first).contiguous(), model.config.num_words);
  Json report = {{"layers", n},
                 {"tokens", tokens},
                 {"PSNR (dB)", mean(set.psnr[layer], set)},
                 {"SSIM", mean(set.ssim[layer], set)},
                 {"words", words_used(used, model)},
                 {"perplexity", used.perplexity}};
  if (set.seen.defined() && set.ids.size(0) > 1)
    report[kFrechet] = frechet(set.seen, set.seen_drawn[layer]);
  if (!set.scores.empty()) report[kScore] = set.scores[layer];
  return report;
}

void print_set(const std::string& name, const Json& set, std::ostream& out) {
  const bool seen = set["layers"][0].contains(kFrechet), scored = set["layers"][0].contains(kScore);
  // Numbers are taken out of the JSON: a width before a JSON value is its indentation.
  const auto whole = [](const Json& value) { return value.get<int64_t>(); };
  out << name << ", " << set["pictures"] << " pictures, " << set["words in all"]
      << " words in all\n  layers  tokens     PSNR   SSIM" << (seen ? "  Frechet" : "")
      << "   words  perplexity" << (scored ? "  score" : "") << "\n";
  const auto print_quality = [&](const Json& of) {
    out << std::fixed << std::setprecision(2) << std::setw(9) << of["PSNR (dB)"].get<double>()
        << std::setprecision(3) << std::setw(7) << of["SSIM"].get<double>();
    if (seen) out << std::setprecision(1) << std::setw(9) << of[kFrechet].get<double>();
  };
  for (const Json& layer : set["layers"]) {
    out << std::setw(8) << whole(layer["layers"]) << std::setw(8) << whole(layer["tokens"]);
    print_quality(layer);
    out << std::setw(8) << whole(layer["words"]) << std::setprecision(1) << std::setw(12)
        << layer["perplexity"].get<double>();
    if (scored) out << std::setprecision(3) << std::setw(7) << layer[kScore].get<double>();
    out << "\n";
  }
  out << "  mosaic of " << kMosaicPatch << 'x' << kMosaicPatch;
  print_quality(set["mosaic"]);
  out << "\n";
}

}  // namespace

int64_t upper_tokens(const spae::Model& model) {
  return model.pyramid.tokens(std::min<int64_t>(2, model.pyramid.layers()));
}

Json set_report(const spae::Model& model, const Layerwise& set) {
  Json layers = Json::array();
  for (size_t layer = 0; layer < set.psnr.size(); ++layer)
    layers.push_back(layer_report(model, set, layer));
  Json floor = {{"PSNR (dB)", mean(set.mosaic_psnr, set)}, {"SSIM", mean(set.mosaic_ssim, set)}};
  if (set.seen.defined() && set.ids.size(0) > 1)
    floor[kFrechet] = frechet(set.seen, set.seen_mosaic);
  return {
      {"pictures", set.ids.size(0)},
      {"layers", std::move(layers)},
      {"mosaic", std::move(floor)},
      {"words in all", words_used(codebook_statistics(set.ids, model.config.num_words), model)}};
}

Json words_report(const spae::Model& model, const at::Tensor& ids,
                  const train::WordPictures& pictures) {
  std::vector<data::PictureWords> truths, training;
  for (int64_t i = 0; i < pictures.held_out_drawings(); ++i)
    truths.push_back(pictures.words_of_held_out(i));
  for (int64_t i = 0; i < pictures.drawings(); ++i) training.push_back(pictures.words_of(i));
  const int64_t upper = upper_tokens(model);
  const auto count = static_cast<int64_t>(truths.size());
  const train::WordMatch match = train::word_match(ids.narrow(1, 0, upper), truths),
                         prior =
                             train::prior_match(training, truths, train::kPriorOtherWeight, upper);
  return {{"words", upper},
          {"a name first", share(match.name_first, count)},
          {"a name", share(match.name, count)},
          {"any word first", share(match.any_first, count)},
          {"any word", share(match.any, count)},
          {"prior, a name", share(prior.name, count)},
          {"prior, any word", share(prior.any, count)}};
}

std::string spae_table(const Json& report) {
  std::ostringstream out;
  for (const char* set : {"drawings", "photos"})
    if (report.contains(set)) print_set(set, report[set], out);
  const Json& words = report["upper words"];
  out << "the first " << words["words"] << " words of a drawing hold\n" << std::setprecision(3);
  for (const auto& [name, value] : words.items()) {
    if (!value.is_object()) continue;
    out << "  " << std::left << std::setw(18) << name << std::right << value["value"].get<double>()
        << "  [" << value["low"].get<double>() << ", " << value["high"].get<double>() << "]\n";
  }
  return out.str();
}

}  // namespace lexel::eval
