#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <algorithm>
#include <iomanip>
#include <nlohmann/json.hpp>
#include <sstream>

#include "apps/eval/words/error_chart.h"
#include "apps/eval/words/options.h"
#include "apps/spool.h"
#include "kernels/check.h"
#include "kernels/philox.h"
#include "spae/quantizer.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/word_table.h"

namespace lexel::cli {
namespace {

using eval::WidthErrors;

/// (1, n, width): directions without a preferred one.
at::Tensor random_vectors(int64_t seed, int64_t count, int64_t width) {
  Philox random(static_cast<uint64_t>(seed), "eval words", static_cast<uint64_t>(width));
  at::Tensor vectors = at::empty({count, width}, at::kFloat);
  auto* out = vectors.mutable_data_ptr<float>();
  for (int64_t i = 0; i < count * width; ++i) out[i] = static_cast<float>(random.normal());
  return spae::unit_rows(vectors).unsqueeze(0);
}

/// A pyramid of one position, which every layer visits.
spae::Pyramid one_position(int64_t layers) {
  return spae::make_pyramid(std::vector<int64_t>(static_cast<size_t>(layers), 1));
}

std::vector<double> errors(spae::QuantizerRule rule, const at::Tensor& vectors,
                           const at::Tensor& codes, int64_t words) {
  std::vector<double> result;
  const at::Tensor each = vectors.transpose(0, 1);  // (n, 1, width): a picture a vector
  for (const spae::LayerChoice& choice :
       spae::quantize(one_position(words), rule, each, codes, words))
    result.push_back((choice.result - each).square().sum(-1).mean().item<double>());
  return result;
}

std::string table(const std::vector<WidthErrors>& all) {
  std::ostringstream out;
  out << "squared error of random unit vectors after n words\n   width  rule    ";
  for (size_t n = 1; n <= all.front().average.size(); ++n) out << std::setw(8) << n;
  const auto row = [&out](int64_t width, const char* rule, const std::vector<double>& values) {
    out << "\n" << std::setw(8) << width << "  " << std::left << std::setw(8) << rule << std::right;
    for (const double value : values)
      out << std::setw(8) << std::fixed << std::setprecision(3) << value;
  };
  for (const WidthErrors& one : all) {
    row(one.width, "average", one.average);
    row(one.width, "residual", one.residual);
  }
  return out.str() + "\n";
}

}  // namespace

int run_eval_words(const EvalWordsOptions& options) {
  const at::NoGradGuard no_grad;
  const WordTableFile file = read_word_table(options.table);
  std::vector<WidthErrors> all;
  for (const int64_t width : options.widths) {
    if (width > file.table.vectors.size(1)) continue;
    const at::Tensor codes = spae::make_lexical_codebook(file.table, width).codes;
    const at::Tensor vectors = random_vectors(options.seed, options.vectors, width);
    all.push_back({width,
                   errors(spae::QuantizerRule::kStreamingAverage, vectors, codes, options.words),
                   errors(spae::QuantizerRule::kResidual, vectors, codes, options.words)});
  }
  check(!all.empty(), ErrorKind::kUsage, "--widths: expected one of at most ",
        file.table.vectors.size(1), ", the width of ", options.table);
  if (!options.chart.empty()) write_file(options.chart, eval::error_chart(all));
  if (!options.output.empty()) {
    nlohmann::ordered_json report = {{"words", file.table.words.size()},
                                     {"vectors", options.vectors},
                                     {"widths", nlohmann::ordered_json::array()}};
    for (const WidthErrors& one : all)
      report["widths"].push_back(
          {{"width", one.width}, {"average", one.average}, {"residual", one.residual}});
    write_file(options.output, report.dump(2) + "\n");
  }
  write_stdout(table(all));
  return 0;
}

}  // namespace lexel::cli
