#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <algorithm>
#include <cmath>
#include <iomanip>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "apps/eval/floors.h"
#include "apps/eval/metrics.h"
#include "apps/eval/options.h"
#include "apps/eval/paired_frechet.h"
#include "apps/picture_stream.h"
#include "apps/progress.h"
#include "apps/spool.h"
#include "kernels/check.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/config_json.h"
#include "tokenizers/io/contact_sheet.h"
#include "tokenizers/io/sha256.h"
#include "tokenizers/io/torch_checkpoint.h"
#include "tokenizers/load.h"
#include "vqgan/perceptual.h"

namespace lexel::cli {
namespace {

using nlohmann::ordered_json;

constexpr int64_t kSheetPictures = 24;
// The Frechet distance's resamples cost a singular value decomposition of pictures x pictures each.
constexpr int64_t kFrechetResamples = 100;
constexpr int64_t kFrechetIntervalPictures = 1500;

/// Numbers of every picture, gathered batch by batch.
struct Gathered {
  std::vector<double> psnr, ssim, mse, mosaic_psnr, kmeans_psnr;
  std::vector<double> stable;   // share of ids that decoding and encoding again gives back
  std::vector<at::Tensor> ids;  // (b, N) int64
  std::vector<at::Tensor> features, drawn_features;  // (b, 1280)
  std::string hashes;                                // of the pictures as the model sees them
  std::vector<std::vector<Image>> sheet;
  std::vector<std::string> skipped;
  int64_t count() const { return static_cast<int64_t>(psnr.size()); }
};

void append(std::vector<double>& to, const at::Tensor& values) {
  const double* p = values.const_data_ptr<double>();
  to.insert(to.end(), p, p + values.numel());
}

class Evaluator {
 public:
  explicit Evaluator(const EvalTokenizerOptions& options)
      : options_(options), tokenizer_(load_image_tokenizer(options.model, options.device)) {
    if (!options.centres.empty()) centres_ = eval::read_patch_centres(options.centres);
    if (!options.perceptual.empty()) {
      net_ = vqgan::make_perceptual_net(read_torch_checkpoint(options.perceptual), at::kFloat,
                                        at::kCPU);
    }
  }

  Gathered run() {
    PictureStream stream(options_.data, tokenizer_->info().preprocess, 0);
    const int64_t known = stream.size_hint();
    Progress progress("lexel eval",
                      options_.limit > 0 && known > options_.limit ? options_.limit : known,
                      "pictures", options_.quiet);
    StreamedPicture picture;
    std::vector<at::Tensor> waiting;
    int64_t taken = 0;
    while ((options_.limit == 0 || taken < options_.limit) && stream.next(picture)) {
      if (!picture.problem.empty()) {
        check(options_.skip_bad, picture.problem_kind, picture.problem);
        gathered_.skipped.push_back(picture.problem);
        continue;
      }
      waiting.push_back(picture.prepared.tiles);
      ++taken;
      if (static_cast<int64_t>(waiting.size()) == options_.batch) measure(waiting);
      progress.update(taken);
    }
    measure(waiting);
    check(gathered_.count() >= 2, ErrorKind::kUsage,
          "lexel eval: expected two pictures at least, got ", gathered_.count());
    return std::move(gathered_);
  }

  const TokenizerInfo& info() const { return tokenizer_->info(); }

 private:
  void measure(std::vector<at::Tensor>& waiting) {
    if (waiting.empty()) return;
    const at::Tensor pictures = at::cat(waiting);  // (B, 3, S, S)
    waiting.clear();
    const at::Tensor ids = tokenizer_->encode(pictures);
    const at::Tensor drawn = tokenizer_->decode(ids);
    const int64_t patch_size = info().image_size / info().grid_height;
    Gathered& g = gathered_;
    append(g.psnr, eval::psnr(drawn, pictures));
    append(g.ssim, eval::ssim(drawn, pictures));
    append(g.mse, eval::mse(drawn, pictures));
    std::vector<at::Tensor> columns{pictures, drawn, eval::mosaic(pictures, patch_size)};
    append(g.mosaic_psnr, eval::psnr(columns.back(), pictures));
    if (centres_.defined()) {
      columns.push_back(eval::nearest_patches(pictures, centres_, patch_size));
      append(g.kmeans_psnr, eval::psnr(columns.back(), pictures));
    }
    append(g.stable, tokenizer_->encode(drawn).eq(ids).to(at::kDouble).mean(1));
    g.ids.push_back(ids);
    if (net_) {
      g.features.push_back(vqgan::pooled_features(*net_, pictures));
      g.drawn_features.push_back(vqgan::pooled_features(*net_, drawn));
    }
    for (int64_t i = 0; i < pictures.size(0); ++i) {
      const Image seen = to_image(pictures[i]);
      g.hashes += sha256(seen.pixels.const_data_ptr(), seen.pixels.nbytes());
      if (static_cast<int64_t>(g.sheet.size()) >= kSheetPictures) continue;
      g.sheet.emplace_back();
      for (const at::Tensor& column : columns) g.sheet.back().push_back(to_image(column[i]));
    }
  }

  const EvalTokenizerOptions& options_;
  std::unique_ptr<ImageTokenizer> tokenizer_;
  std::optional<vqgan::PerceptualNet> net_;
  at::Tensor centres_;
  Gathered gathered_;
};

ordered_json to_json(const eval::Interval& interval) {
  return {{"value", interval.estimate}, {"low", interval.low}, {"high", interval.high}};
}

/// A resample repeats pictures: it finds fewer codes, and a larger Frechet distance, than as many new ones would.
/// The width of its interval says how much chance there is, its place does not: it is moved onto the estimate.
eval::Interval centred(eval::Interval interval) {
  const double shift = interval.estimate - (interval.low + interval.high) / 2;
  return {interval.estimate, interval.low + shift, interval.high + shift};
}

/// The Frechet distance; its interval only where the resamples are affordable.
ordered_json frechet(const Gathered& g, uint64_t seed) {
  const at::Tensor a = at::cat(g.features), b = at::cat(g.drawn_features);
  if (g.count() > kFrechetIntervalPictures) {
    return {{"value",
             eval::frechet_distance(eval::feature_statistics(a), eval::feature_statistics(b))}};
  }
  const eval::PairedFrechet paired(a, b);
  return to_json(centred(eval::bootstrap_interval(
      g.count(), [&](const std::vector<int64_t>& items) { return paired.distance(items); }, seed,
      kFrechetResamples)));
}

ordered_json codebook(const Gathered& g, const TokenizerInfo& info, uint64_t seed,
                      int64_t resamples) {
  const at::Tensor ids = at::cat(g.ids);  // (n, N)
  const auto interval = [&](double eval::CodebookStatistics::*field) {
    return to_json(centred(eval::bootstrap_interval(
        g.count(),
        [&](const std::vector<int64_t>& items) {
          at::Tensor chosen =
              at::empty({static_cast<int64_t>(items.size()), ids.size(1)}, at::kLong);
          for (size_t i = 0; i < items.size(); ++i)
            chosen[static_cast<int64_t>(i)].copy_(ids[items[i]]);
          return eval::codebook_statistics(chosen, info.codebook_size).*field;
        },
        seed, std::min<int64_t>(resamples, 200))));
  };
  return {{"usage", interval(&eval::CodebookStatistics::usage)},
          {"perplexity", interval(&eval::CodebookStatistics::perplexity)}};
}

ordered_json report(const EvalTokenizerOptions& options, const Gathered& g,
                    const TokenizerInfo& info) {
  const auto seed = static_cast<uint64_t>(options.seed);
  const auto mean = [&](const std::vector<double>& values) {
    return to_json(eval::bootstrap_mean(values, seed, options.resamples));
  };
  ordered_json metrics = {{"PSNR (dB)", mean(g.psnr)},
                          {"PSNR of the mosaic floor (dB)", mean(g.mosaic_psnr)}};
  if (!g.kmeans_psnr.empty()) metrics["PSNR of the k-means floor (dB)"] = mean(g.kmeans_psnr);
  metrics["SSIM"] = mean(g.ssim);
  metrics["MSE"] = mean(g.mse);
  if (!g.features.empty()) metrics["Frechet distance (EfficientNet-Lite0)"] = frechet(g, seed);
  const ordered_json codes = codebook(g, info, seed, options.resamples);
  metrics["codebook usage"] = codes["usage"];
  metrics["perplexity"] = codes["perplexity"];
  metrics["ids stable under decode, encode"] = mean(g.stable);
  return {
      {"model", info.name},
      {"codebook fingerprint", info.codebook_fingerprint},
      {"data", options.data},
      {"pictures", g.count()},
      {"reference set SHA-256", sha256(g.hashes.data(), g.hashes.size())},
      {"skipped", g.skipped},
      {"recipe",
       {{"preprocess", ordered_json::parse(to_json(info.preprocess))},
        {"PSNR", "mean over pictures of 10 log10(1 / MSE), RGB in [0, 1]"},
        {"SSIM", "gaussian window 11x11, sigma 1.5, data range 1, mean over RGB"},
        {"Frechet distance",
         "1280 pooled features of EfficientNet-Lite0, a substitute for Inception-v3: not "
         "comparable with "
         "published FID, and biased upwards on few pictures"},
        {"intervals",
         concat("95 %, percentile bootstrap over pictures, seed ", options.seed,
                "; those of usage, perplexity and Frechet distance are centred on the estimate")}}},
      {"metrics", metrics},
  };
}

std::string number(const ordered_json& value) {
  if (!value.is_number()) return "";
  const double v = value.get<double>();
  std::ostringstream out;
  out << std::fixed << std::setprecision(std::abs(v) >= 100 ? 0 : std::abs(v) >= 1 ? 2 : 4) << v;
  return out.str();
}

std::string table(const ordered_json& report) {
  std::ostringstream out;
  out << report["model"].get<std::string>() << " on " << report["pictures"] << " pictures (set "
      << report["reference set SHA-256"].get<std::string>().substr(0, 12) << ")\n";
  for (const auto& [name, value] : report["metrics"].items()) {
    out << "  " << std::left << std::setw(40) << name << std::right << std::setw(9)
        << number(value["value"]);
    if (value.contains("low")) {
      out << "  [" << number(value["low"]) << ", " << number(value["high"]) << "]";
    }
    out << "\n";
  }
  return out.str();
}

}  // namespace

int run_eval_tokenizer(const EvalTokenizerOptions& options) {
  Evaluator evaluator(options);
  const Gathered gathered = evaluator.run();
  const ordered_json result = report(options, gathered, evaluator.info());
  if (!options.output.empty()) write_file(options.output, result.dump(2) + "\n");
  if (!options.sheet.empty()) {
    std::vector<std::string> titles{"original", "tokens", "mosaic"};
    if (!options.centres.empty()) titles.emplace_back("k-means");
    write_image(options.sheet, contact_sheet(gathered.sheet, titles));
  }
  for (const std::string& problem : gathered.skipped)
    std::cerr << "lexel eval: skipped " << problem << "\n";
  write_stdout(table(result));
  return 0;
}

}  // namespace lexel::cli
