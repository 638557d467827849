#include "autoregressive/arguments.h"

#include <ATen/TensorOperators.h>
#include <algorithm>
#include <vector>

#include "kernels/check.h"

namespace lexel::ar {
namespace {

void check_ids(const at::Tensor& ids, int64_t limit, const char* function, const char* what) {
  if (ids.numel() == 0) return;
  const auto low = ids.min().item<int64_t>(), high = ids.max().item<int64_t>();
  check(low >= 0 && high < limit, ErrorKind::kBadData, function, ": expected ", what, " in 0 to ",
        limit - 1, ", got ", low < 0 ? low : high);
}

void check_integers(const at::Tensor& x, int64_t dim, const char* function, const char* expected) {
  check_arg(x.defined() && x.scalar_type() == at::kLong && x.dim() == dim, function, "expected ",
            expected, " int64, got ",
            x.defined() ? concat(x.scalar_type(), " of shape ", x.sizes()) : "none");
}

}  // namespace

void check_options(const ForwardOptions& options, const char* function) {
  check_arg(options.compute == at::kFloat || options.compute == at::kBFloat16 ||
                options.compute == at::kDouble,
            function, "expected compute float32, bfloat16 or float64, got ", options.compute);
  check_arg(options.dropout >= 0.0 && options.dropout < 1.0, function,
            "expected a dropout of at least 0 and less than 1, got ", options.dropout);
}

void check_text(const Config& config, const Condition& condition, const char* function) {
  check_integers(condition.text, 2, function, "text (B, m)");
  check_integers(condition.lengths, 1, function, "lengths (B)");
  const int64_t batch = condition.text.size(0), pieces = condition.text.size(1);
  check_arg(pieces >= 1 && pieces <= config.max_text_tokens, function, "expected 1 to ",
            config.max_text_tokens, " text tokens, got ", pieces);
  check_arg(condition.lengths.size(0) == batch, function, "expected one length a row, got ",
            condition.lengths.size(0), " for ", batch);
  check_ids(condition.text, config.text_vocabulary, function, "pieces");
  check_ids(condition.lengths - 1, pieces, function, "lengths - 1");
}

void check_tasks(const Config& config, const Condition& condition, int64_t rows,
                 const char* function) {
  if (config.tasks == 0) return;
  check_integers(condition.tasks, 1, function, "tasks (B)");
  check_arg(condition.tasks.size(0) == rows, function, "expected one task a row, got ",
            condition.tasks.size(0), " for ", rows);
  check_ids(condition.tasks, config.tasks, function, "tasks");
}

void check_arguments(const Config& config, const Condition& condition, const at::Tensor& tokens,
                     const ForwardOptions& options, const char* function) {
  check_options(options, function);
  const int64_t count = config.grid_height * config.grid_width;
  check_integers(tokens, 2, function, "tokens (B, N)");
  check_arg(tokens.size(1) == count, function, "expected ", count, " tokens a picture, got ",
            tokens.size(1));
  check_ids(tokens, config.codebook_size, function, "tokens");
  int64_t rows = tokens.size(0);
  if (config.text_depth > 0) {
    check_text(config, condition, function);
    rows = condition.text.size(0);
  } else if (config.classes > 0) {
    check_integers(condition.classes, 1, function, "classes (B)");
    check_ids(condition.classes, config.classes + 1, function, "classes");
    rows = condition.classes.size(0);
  }
  check_arg(rows == tokens.size(0), function, "expected one condition a picture, got ", rows,
            " for ", tokens.size(0));
  check_tasks(config, condition, rows, function);
}

void check_places(const Config& config, const at::Tensor& tokens, const at::Tensor& places,
                  const char* function) {
  check_arg(places.dim() == 2 && places.size(0) == tokens.size(0) && places.size(1) >= 1 &&
                places.scalar_type() == at::kLong,
            function, "expected (", tokens.size(0), ", n) int64 places, got ", places.scalar_type(),
            " of shape ", places.sizes());
  const int64_t count = places.size(1);
  const bool ascending =
      count == 1 ||
      (places.narrow(1, 1, count - 1) > places.narrow(1, 0, count - 1)).all().item<bool>();
  check_arg(ascending && places.min().item<int64_t>() >= 0 &&
                places.max().item<int64_t>() < tokens.size(1),
            function, "expected ascending places from 0 to ", tokens.size(1) - 1);
  const std::vector<bool> conv = conv_blocks(config);
  check_arg(std::ranges::find(conv, true) == conv.end(), function,
            "expected a model without conv-shaped blocks for chosen places");
}

}  // namespace lexel::ar
