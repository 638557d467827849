#include "autoregressive/generate.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "kernels/check.h"
#include "kernels/machine.h"
#include "kernels/sampling.h"

namespace lexel::ar {
namespace {

const char* const kName = "ar::generate";

at::Tensor rows_of(const at::Tensor& x, int64_t first, int64_t count) {
  return x.defined() ? x.slice(0, first, first + count) : x;
}

Condition rows_of(const Condition& condition, int64_t first, int64_t count) {
  return {rows_of(condition.text, first, count), rows_of(condition.lengths, first, count),
          rows_of(condition.classes, first, count), rows_of(condition.tasks, first, count)};
}

/// `condition`, and below it the row of `other` as many times.
Condition with_rows_of(const Condition& condition, const Condition& other) {
  const auto below = [](const at::Tensor& a, const at::Tensor& b) {
    if (!a.defined()) return a;
    return at::cat({a, b.sizes() == a.sizes() ? b : b.slice(0, 0, 1).expand_as(a)});
  };
  Condition both;
  both.lengths = below(condition.lengths, other.lengths);
  both.classes = below(condition.classes, other.classes);
  both.tasks =
      below(condition.tasks, condition.tasks);  // guidance is away from no caption, not from a task
  if (condition.text.defined()) {
    const int64_t width = std::max(condition.text.size(1), other.text.size(1));
    const auto padded = [width](const at::Tensor& text) {
      return at::constant_pad_nd(text, {0, width - text.size(1)});
    };
    both.text = below(padded(condition.text), padded(other.text));
  }
  return both;
}

/// The largest magnitude of each row's logits, (rows) float32; not finite where one of them is not.
at::Tensor magnitudes(const at::Tensor& logits) {
  if (!logits.is_cpu()) {
    return at::linalg_vector_norm(logits, std::numeric_limits<double>::infinity(), 1);
  }
  at::Tensor largest = at::empty({logits.size(0)}, logits.options());
  const float* values = logits.const_data_ptr<float>();
  for (int64_t row = 0; row < logits.size(0); ++row, values += logits.size(1)) {
    int32_t bits = 0;  // without its sign a number orders as its bits do, NaN above infinity
    for (int64_t i = 0; i < logits.size(1); ++i) {
      bits = std::max(bits, std::bit_cast<int32_t>(values[i]) & 0x7FFFFFFF);
    }
    largest.mutable_data_ptr<float>()[row] = std::bit_cast<float>(bits);
  }
  return largest;
}

/// A group of pictures on its way: fills its rows of the result.
class Group {
 public:
  Group(const PackedModel& model, const GenerateOptions& options, const at::Tensor& pictures,
        const at::Tensor& given, bool guided)
      : options_(options),
        pictures_(pictures.contiguous()),
        given_(given),
        size_(pictures.size(0)),
        tokens_(model.positions.size(0)),
        row_of_tokens_(model.model.config.grid_width),
        guided_(guided),
        decoder_(model, guided ? 2 * size_ : size_, options.cache),
        places_(
            at::arange(tokens_, pictures.options()).unsqueeze(1).expand({-1, size_}).contiguous()),
        magnitudes_(at::zeros({tokens_, guided ? 2 * size_ : size_}, model.positions.options())) {
    if (given.defined()) {
      const at::Tensor on_cpu = given.cpu();
      const at::Tensor open = on_cpu.lt(0);
      const at::Tensor some = open.any(0).contiguous();  // (N)
      drawn_.assign(some.const_data_ptr<bool>(), some.const_data_ptr<bool>() + tokens_);
    } else {
      drawn_.assign(static_cast<size_t>(tokens_), true);
    }
  }

  /// Tokens and log-probabilities are rows of the result. `after` is called with the tokens that each picture has, false stops.
  bool draw(const Condition& condition, at::Tensor tokens, at::Tensor log_probabilities,
            const std::function<bool(int64_t)>& after) {
    int64_t fed = -1;  // tokens that the decoder knows; -1: not started
    for (int64_t p = 0; p < tokens_; ++p) {
      if (drawn_[static_cast<size_t>(p)]) {
        const at::Tensor logits = logits_of(condition, tokens, fed, p);
        fed = p;
        magnitudes_.select(0, p).copy_(magnitudes(logits));
        draw_token(logits, p, tokens.select(1, p), log_probabilities.select(1, p));
      } else {
        tokens.select(1, p).copy_(given_.select(1, p));
      }
      if ((p + 1) % row_of_tokens_ == 0) check_finite(p + 1 - row_of_tokens_, p + 1);
      if (after(p + 1)) continue;
      check_finite(p / row_of_tokens_ * row_of_tokens_, p + 1);
      return false;
    }
    return true;
  }

 private:
  /// The logits of token p, (rows, K), once the decoder knows those before it.
  at::Tensor logits_of(const Condition& condition, const at::Tensor& tokens, int64_t fed,
                       int64_t p) {
    const auto doubled = [&](const at::Tensor& known) {
      return guided_ ? at::cat({known, known}) : known.contiguous();
    };
    if (fed < 0) {
      return decoder_.start(condition, p == 0 ? at::Tensor() : doubled(tokens.slice(1, 0, p)));
    }
    return decoder_.feed(doubled(tokens.slice(1, fed, p)));
  }

  /// Of the tokens from `first` to before `last`. Looks once a row of tokens, as on a GPU each look waits for the device.
  void check_finite(int64_t first, int64_t last) const {
    const at::Tensor largest = magnitudes_.slice(0, first, last).cpu();
    const float* const values = largest.const_data_ptr<float>();
    const int64_t rows = largest.size(1);
    for (int64_t i = 0; i < largest.numel(); ++i) {
      if (std::isfinite(values[i])) continue;
      fail(ErrorKind::kBadData, "the logits of token ", first + i / rows, " of picture ",
           pictures_[i % rows % size_].item<int64_t>(), " are not finite: the model is broken");
    }
  }

  void draw_token(const at::Tensor& logits, int64_t p, at::Tensor ids, at::Tensor log_probability) {
    kernels::SamplingOptions sampling;
    sampling.guidance = guidance_at(options_, p, tokens_);
    sampling.temperature = options_.temperature;
    sampling.top_k = options_.top_k;
    sampling.top_p = options_.top_p;
    sampling.seed = options_.seed;
    const kernels::Drawn drawn =
        kernels::sample(logits.slice(0, 0, size_), guided_ ? logits.slice(0, size_) : at::Tensor(),
                        pictures_, places_.select(0, p), sampling);
    if (!given_.defined()) {
      ids.copy_(drawn.ids);
      log_probability.copy_(drawn.log_probabilities);
      return;
    }
    const at::Tensor kept = given_.select(1, p);
    const at::Tensor is_open = kept.lt(0);
    ids.copy_(at::where(is_open, drawn.ids, kept));
    log_probability.copy_(drawn.log_probabilities.masked_fill(is_open.logical_not(), 0.0));
  }

  const GenerateOptions& options_;
  at::Tensor pictures_, given_;
  int64_t size_, tokens_;
  int64_t row_of_tokens_;  // the grid's width
  bool guided_;
  std::vector<bool> drawn_;  // by position: whether any picture draws there
  Decoder decoder_;
  at::Tensor places_;      // (N, pictures) int64: row p holds p
  at::Tensor magnitudes_;  // (N, rows) float32: of the logits; 0 where none were looked at
};

void check_rows(const Condition& condition, const Config& config, int64_t rows, const char* what) {
  const bool has_text = config.text_depth > 0, has_classes = config.classes > 0;
  check_arg(condition.text.defined() == has_text && condition.lengths.defined() == has_text &&
                condition.classes.defined() == has_classes,
            kName, "expected ",
            has_text      ? "text"
            : has_classes ? "classes"
                          : "nothing",
            " in the ", what, ", got others");
  if (!has_text && !has_classes) return;
  if (has_text) {
    check_arg(condition.text.dim() == 2 && condition.text.size(0) == rows, kName,
              "expected text of ", rows, " rows in the ", what, ", got ", condition.text.sizes());
  }
  const at::Tensor& numbers = has_text ? condition.lengths : condition.classes;
  check_arg(numbers.dim() == 1 && numbers.size(0) == rows, kName, "expected ", rows,
            " rows in the ", what, ", got ", numbers.sizes());
}

void check_given(const at::Tensor& given, const Config& config, const at::Tensor& pictures) {
  if (!given.defined()) return;
  const int64_t tokens = config.grid_height * config.grid_width;
  check_arg(
      given.scalar_type() == at::kLong && given.dim() == 2 && given.size(0) == pictures.size(0) &&
          given.size(1) == tokens && given.device() == pictures.device(),
      kName, "expected given tokens (", pictures.size(0), ", ", tokens, ") int64 on ",
      pictures.device(), ", got ", given.scalar_type(), " ", given.sizes(), " on ", given.device());
  if (given.numel() == 0) return;
  const int64_t least = given.min().item<int64_t>(), most = given.max().item<int64_t>();
  check_arg(least >= -1 && most < config.codebook_size, kName, "expected given tokens in -1..",
            config.codebook_size - 1, ", got ", least < -1 ? least : most);
}

/// Pictures of a group: as many as the decoder takes and the memory of each rank has room for.
int64_t group_size(const PackedModel& model, const GenerateOptions& options, bool guided,
                   int64_t batch) {
  const int64_t rows = guided ? 2 : 1;  // of a picture
  int64_t size = std::min(batch, Decoder::kMaxRows / rows);
  const int64_t available = kernels::available_memory_bytes();
  const int64_t ranks = model.share.ranks;
  while (size > 1 &&
         Decoder::bytes(model.model.config, rows * size, options.cache, ranks) > available) {
    size = (size + 1) / 2;
  }
  if (ranks == 1) return size;
  const at::Tensor sizes = at::full({1, 1}, size, model.positions.options());
  return model.share.whole(sizes, ranks).min().item<int64_t>();  // all draw the same groups
}

}  // namespace

void validate(const GenerateOptions& options, int64_t codebook_size) {
  check_arg(std::isfinite(options.guidance) && options.guidance >= 0.0, kName,
            "expected a guidance >= 0, got ", options.guidance);
  check_arg(options.schedule == "constant" || options.schedule == "cosine", kName,
            "expected a guidance schedule of constant or cosine, got ", options.schedule);
  check_arg(std::isfinite(options.temperature) && options.temperature >= 0.0, kName,
            "expected a temperature >= 0, got ", options.temperature);
  check_arg(options.top_k >= 0 && options.top_k <= codebook_size, kName, "expected a top_k in 0..",
            codebook_size, ", got ", options.top_k);
  check_arg(options.top_p > 0.0 && options.top_p <= 1.0, kName, "expected a top_p in (0, 1], got ",
            options.top_p);
}

double guidance_at(const GenerateOptions& options, int64_t position, int64_t tokens) {
  if (options.schedule == "constant" || tokens == 1) return options.guidance;
  const double t = static_cast<double>(position) / static_cast<double>(tokens - 1);
  return 1.0 + (options.guidance - 1.0) * (1.0 - std::cos(std::numbers::pi * t)) / 2.0;
}

Generated generate(const PackedModel& model, const Condition& condition,
                   const Condition& unconditional, const at::Tensor& pictures,
                   const GenerateOptions& options, const at::Tensor& given,
                   const TokenCallback& callback) {
  const at::NoGradGuard no_grad;
  const Config& config = model.model.config;
  const bool guided = options.guidance != 1.0;
  validate(options, config.codebook_size);
  check_arg(pictures.defined() && pictures.scalar_type() == at::kLong && pictures.dim() == 1 &&
                pictures.device() == model.positions.device(),
            kName, "expected numbers of pictures (B) int64 on ", model.positions.device(),
            ", got others");
  const int64_t batch = pictures.size(0), tokens = config.grid_height * config.grid_width;
  check_rows(condition, config, batch, "condition");
  if (guided) check_rows(unconditional, config, 1, "unconditional");
  check_arg(config.tasks == 0 || (condition.tasks.defined() && condition.tasks.dim() == 1 &&
                                  condition.tasks.size(0) == batch),
            kName, "expected a task for each of ", batch,
            " pictures, got none (lexel extract-task makes a model of one task)");
  check_given(given, config, pictures);

  Generated result;
  result.tokens = at::full({batch, tokens}, -1, pictures.options());
  result.log_probabilities = at::zeros({batch, tokens}, model.positions.options());
  if (batch == 0) return result;
  const int64_t size = group_size(model, options, guided, batch);
  for (int64_t first = 0; first < batch; first += size) {
    const int64_t count = std::min(size, batch - first);
    const Condition own = rows_of(condition, first, count);
    Group group(model, options, rows_of(pictures, first, count), rows_of(given, first, count),
                guided);
    const auto after = [&](int64_t done) {
      return !callback || callback(first * tokens + count * done, result.tokens);
    };
    if (!group.draw(guided ? with_rows_of(own, unconditional) : own,
                    rows_of(result.tokens, first, count),
                    rows_of(result.log_probabilities, first, count), after)) {
      break;
    }
  }
  return result;
}

}  // namespace lexel::ar
