#include "apps/bench/cases/generator.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/randint.h>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>

#include "apps/bench/eager_generator.h"
#include "autoregressive/generate.h"
#include "kernels/check.h"
#include "vqgan/model.h"

namespace lexel::bench {
namespace {

constexpr double kGuidance = 3.0;
constexpr int64_t kTopK = 256;
constexpr int64_t kPieces = 12;  // of a caption

/// The shipped generator's shape with fresh weights: no time depends on their values.
struct Drawing {
  ar::PackedModel packed;
  ar::Condition condition, unconditional;  // `pictures` rows; one row
  at::Tensor numbers;
  ar::GenerateOptions options;

  at::Tensor draw(const ar::TokenCallback& callback = {}) const {
    return ar::generate(packed, condition, unconditional, numbers, options, {}, callback).tokens;
  }
};

std::shared_ptr<Drawing> make_drawing(int64_t pictures) {
  auto drawing = std::make_shared<Drawing>();
  const ar::Config config = ar::parti_lexel_128();
  drawing->packed = ar::pack(ar::make_model(config, 1, at::kCPU), kernels::WeightFormat::kInt8);
  drawing->condition.text = at::randint(config.text_vocabulary, {pictures, kPieces}, at::kLong);
  drawing->condition.lengths = at::full({pictures}, kPieces, at::kLong);
  drawing->unconditional.text = at::full({1, 1}, 2, at::kLong);
  drawing->unconditional.lengths = at::full({1}, 1, at::kLong);
  drawing->numbers = at::arange(pictures, at::kLong);
  drawing->options.guidance = kGuidance;
  drawing->options.top_k = kTopK;
  return drawing;
}

/// The rows of the peers: captions, then as many unconditional ones.
ar::Condition all_rows(const Drawing& drawing) {
  const at::Tensor &text = drawing.condition.text, &lengths = drawing.condition.lengths;
  return {at::cat({text, at::full_like(text, 2)}), at::cat({lengths, at::ones_like(lengths)}), {}};
}

/// Bytes that the steps of a picture (or a group) read: int8 weights each time, and the keys and values so far.
double bytes_read(const ar::Config& config, int64_t pictures) {
  const auto tokens = static_cast<double>(config.grid_height * config.grid_width);
  const auto weights = static_cast<double>(
      config.width * config.codebook_size +
      config.depth * (6 * config.width * config.width + 2 * config.width * config.hidden));
  const double key = 2.0 * 2.0 * static_cast<double>(config.width * config.depth);  // bfloat16
  const auto rows = static_cast<double>(pictures);
  return tokens * weights + 2 * rows * key * tokens * (tokens + 1) / 2 +
         rows * key * tokens * (kPieces + 1);
}

/// Logits of the packed model beside those of the eager one with the same rounded weights, under the same tokens.
std::string compare(const Drawing& drawing, EagerGenerator& eager) {
  const ar::Condition rows = all_rows(drawing);
  const int64_t count = rows.text.size(0);
  ar::Decoder decoder(drawing.packed, count, at::kFloat);
  eager.start(rows);
  at::Tensor ours = decoder.start(rows), theirs = eager.step();
  double worst = 0.0;
  for (int64_t p = 0;; ++p) {
    worst = std::max(
        worst, ours.sub(theirs).abs().max().item<double>() / theirs.abs().max().item<double>());
    if (p + 1 == drawing.packed.positions.size(0)) break;
    const at::Tensor tokens =
        at::randint(drawing.packed.model.config.codebook_size, {count}, at::kLong);
    ours = decoder.step(tokens);
    theirs = eager.step(tokens);
  }
  check(worst < 1e-4, ErrorKind::kInternal, "logits differ by ", worst, " of the largest");
  return concat("logits of all steps within ", worst, " of the largest");
}

Case picture_case(const std::string& name, int64_t pictures, bool with_tokenizer) {
  const auto prepare = [=] {
    const auto tool = make_drawing(pictures);
    const ar::Model rounded = ar::unpack(tool->packed);
    const auto tokenizer =
        std::make_shared<vqgan::Model>(vqgan::make_model(vqgan::lexel_128(), 1, at::kCPU));
    const auto show = [=](const at::Tensor& tokens) {
      if (with_tokenizer) vqgan::decode(*tokenizer, tokens, 16, 16);
    };
    const ar::Condition rows = all_rows(*tool);
    const auto eager = std::make_shared<EagerGenerator>(rounded, at::kFloat);
    const auto half = std::make_shared<EagerGenerator>(rounded, at::kBFloat16);
    Runs runs;
    runs.ours = {"ours", [=] { show(tool->draw()); }};
    runs.peers = {{"LibTorch eager, float32", [=] { show(eager->draw(rows, kGuidance, kTopK)); }},
                  {"LibTorch eager, bfloat16", [=] { show(half->draw(rows, kGuidance, kTopK)); }}};
    runs.check = [=] { return compare(*tool, *eager); };
    return runs;
  };
  return {"generator", name, Ceiling::kCache, bytes_read(ar::parti_lexel_128(), pictures), prepare};
}

}  // namespace

std::vector<Case> generator_cases() {
  return {picture_case("1 picture of 256 tokens, guidance, shown by the tokenizer", 1, true),
          picture_case("1 picture of 256 tokens, guidance", 1, false),
          picture_case("8 pictures of 256 tokens, guidance", 8, false)};
}

std::string step_times() {
  using Clock = std::chrono::steady_clock;
  constexpr int64_t kTokens = 256, kBins = 8;
  constexpr int kPictures = 20;
  const auto drawing = make_drawing(1);
  std::vector<double> best(kTokens, 1e30);  // seconds of each token, the best of all pictures
  for (int picture = 0; picture < kPictures; ++picture) {
    Clock::time_point last = Clock::now();
    drawing->draw([&](int64_t done, const at::Tensor&) {
      const Clock::time_point now = Clock::now();
      double& seconds = best[static_cast<size_t>(done - 1)];
      seconds = std::min(seconds, std::chrono::duration<double>(now - last).count());
      last = now;
      return true;
    });
  }
  std::string text =
      "\nTime of a token by its position (the first one holds the text encoder):\n\n";
  double first_bin = 0.0;
  for (int64_t bin = 0; bin < kBins; ++bin) {
    const int64_t size = kTokens / kBins, from = std::max<int64_t>(1, bin * size);
    double sum = 0.0;
    for (int64_t p = from; p < (bin + 1) * size; ++p) sum += best[static_cast<size_t>(p)];
    const double mean = sum / static_cast<double>((bin + 1) * size - from);
    if (bin == 0) first_bin = mean;
    char line[96];
    std::snprintf(line, sizeof line, "    %3d to %3d  %6.1f us  %.2f x the first  ",
                  static_cast<int>(from), static_cast<int>((bin + 1) * size - 1), 1e6 * mean,
                  mean / first_bin);
    text += line;
    text.append(static_cast<size_t>(std::clamp(20.0 * mean / first_bin, 1.0, 60.0)), '=') += '\n';
  }
  return text;
}

}  // namespace lexel::bench
