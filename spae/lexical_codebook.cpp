#include "spae/lexical_codebook.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>
#include <algorithm>
#include <charconv>
#include <set>
#include <sstream>
#include <unordered_set>
#include <utility>

#include "kernels/check.h"

namespace lexel::spae {
namespace {

bool is_lower_case(const std::string& word) {
  return std::all_of(word.begin(), word.end(), [](char c) { return c >= 'a' && c <= 'z'; });
}

void check_words(const std::vector<std::string>& words, const char* function) {
  check_arg(!words.empty(), function, "expected words, got none");
  std::unordered_set<std::string> seen;
  for (const std::string& word : words) {
    check_arg(!word.empty(), function, "expected words, got an empty one");
    check_arg(word != "#", function,
              "expected words, got \"#\", which starts remarks in word files");
    const bool plain = std::all_of(word.begin(), word.end(), [](char c) {
      return static_cast<unsigned char>(c) > 0x20 && c != 0x7f;
    });
    check_arg(plain, function, "expected words without blanks and control characters, got number ",
              seen.size());
    check_arg(seen.insert(word).second, function, "expected each word once, got \"", word,
              "\" twice");
  }
}

void check_ids(const at::Tensor& ids, size_t words, const char* function) {
  check_arg(ids.defined() && ids.scalar_type() == at::kLong && ids.dim() == 1 &&
                ids.size(0) == static_cast<int64_t>(words),
            function, "expected ", words, " int64 ids, got ",
            ids.defined() ? concat(ids.scalar_type(), " of shape ", ids.sizes()) : "none");
  const at::Tensor flat = ids.cpu().contiguous();
  const int64_t* const id = flat.const_data_ptr<int64_t>();
  std::set<int64_t> seen;
  for (size_t k = 0; k < words; ++k) {
    check_arg(id[k] >= 0 && seen.insert(id[k]).second, function,
              "expected ids of at least 0, each once, got ", id[k]);
  }
}

void check_rows(const at::Tensor& rows, size_t words, const char* what, const char* function) {
  check_arg(rows.defined() && rows.scalar_type() == at::kFloat && rows.dim() == 2 &&
                rows.size(0) == static_cast<int64_t>(words) && rows.size(1) >= 1,
            function, "expected ", what, " (", words, ", width) float32, got ",
            rows.defined() ? concat(rows.scalar_type(), " of shape ", rows.sizes()) : "none");
  check_arg(at::isfinite(rows).all().item<bool>(), function, "expected finite ", what,
            ", got a value that is not");
}

void check_unit(const at::Tensor& rows, const char* what, const char* function) {
  const double off =
      (at::linalg_vector_norm(rows, 2, at::IntArrayRef{-1}) - 1.0).abs().max().item<double>();
  check_arg(off <= 1e-3, function, "expected ", what, " of length 1, got one that is off by ", off);
}

}  // namespace

WordRule parse_word_rule(const std::string& text, const std::string& name) {
  WordRule rule;
  std::istringstream lines(text);
  int64_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    std::istringstream parts(line.substr(0, line.find('#')));
    std::vector<std::string> values;
    std::string key;
    if (!(parts >> key)) continue;
    for (std::string value; parts >> value;) values.push_back(value);
    const auto bad = [&](const std::string& expected) {
      fail(ErrorKind::kBadData, name, ": line ", number, ": expected ", expected, ", got \"", line,
           "\"");
    };
    if (key == "min_letters" || key == "max_letters") {
      int64_t value = 0;
      const std::string& digits = values.size() == 1 ? values.front() : key;
      const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value);
      if (parsed.ec != std::errc() || parsed.ptr != digits.data() + digits.size() || value < 1) {
        bad(key + " and one number from 1");
      }
      (key == "min_letters" ? rule.min_letters : rule.max_letters) = value;
    } else if (key == "lower_case") {
      if (!values.empty()) bad("lower_case alone");
      rule.lower_case = true;
    } else if (key == "only" || key == "without") {
      if (values.empty()) bad(key + " and words");
      std::vector<std::string>& words = key == "only" ? rule.only : rule.without;
      words.insert(words.end(), values.begin(), values.end());
    } else {
      bad("min_letters, max_letters, lower_case, only or without");
    }
  }
  return rule;
}

WordTable restricted(const WordTable& table, const WordRule& rule) {
  check_table(table);
  const std::unordered_set<std::string> all(table.words.begin(), table.words.end()),
      only(rule.only.begin(), rule.only.end()), without(rule.without.begin(), rule.without.end());
  for (const std::string& word : rule.only) {
    check(all.count(word) == 1, ErrorKind::kBadData, "the word rule keeps \"", word,
          "\", which the table does not have");
  }
  WordTable kept;
  std::vector<int64_t> rows;
  for (size_t k = 0; k < table.words.size(); ++k) {
    const std::string& word = table.words[k];
    const auto letters = static_cast<int64_t>(word.size());
    if (letters < rule.min_letters || letters > rule.max_letters) continue;
    if (rule.lower_case && !is_lower_case(word)) continue;
    if ((!only.empty() && only.count(word) == 0) || without.count(word) == 1) continue;
    kept.words.push_back(word);
    rows.push_back(static_cast<int64_t>(k));
  }
  check(!rows.empty(), ErrorKind::kBadData, "the word rule keeps none of ", table.words.size(),
        " words");
  const at::Tensor index = at::tensor(rows, at::kLong).to(table.vectors.device());
  kept.ids = table.ids.index_select(0, index.to(table.ids.device()));
  kept.vectors = table.vectors.index_select(0, index);
  return kept;
}

at::Tensor unit_rows(const at::Tensor& rows) {
  const at::Tensor x = rows.to(at::kFloat);
  return x / at::linalg_vector_norm(x, 2, at::IntArrayRef{-1}, /*keepdim=*/true).clamp_min(1e-12);
}

WordProjection principal_components(const at::Tensor& vectors, int64_t width) {
  check_arg(vectors.dim() == 2 && vectors.size(0) >= 2 && vectors.scalar_type() == at::kFloat,
            "principal_components", "expected (K, S) float32 vectors, K of at least 2, got ",
            vectors.scalar_type(), " of shape ", vectors.sizes());
  check_arg(width >= 1 && width <= vectors.size(1), "principal_components",
            "expected a width of 1 to ", vectors.size(1), ", got ", width);
  const at::NoGradGuard no_grad;
  const at::Tensor x = vectors.cpu().to(at::kDouble);
  const at::Tensor mean = x.mean(at::IntArrayRef{0});  // (S)
  const at::Tensor centred = x - mean;                 // (K, S)
  const at::Tensor covariance = at::matmul(centred.t(), centred) / static_cast<double>(x.size(0));
  // Eigenvalues come rising: the last columns are the ones of largest variance.
  const at::Tensor vectors_of = std::get<1>(at::linalg_eigh(covariance));
  at::Tensor basis = vectors_of.narrow(1, x.size(1) - width, width).flip({1});  // (S, width)
  const at::Tensor largest =
      basis.gather(0, basis.abs().argmax(0, /*keepdim=*/true));  // (1, width)
  basis = basis * largest.sign();
  return {mean.to(vectors.device(), at::kFloat),
          basis.to(vectors.device(), at::kFloat).contiguous()};
}

LexicalCodebook make_lexical_codebook(const WordTable& table, int64_t width) {
  check_table(table);
  const at::NoGradGuard no_grad;
  const at::Tensor unit = unit_rows(table.vectors);
  LexicalCodebook codebook;
  codebook.words = table.words;
  codebook.ids = table.ids.clone();
  codebook.semantics = unit_rows(unit - unit.mean(at::IntArrayRef{0}));
  const WordProjection projection = principal_components(codebook.semantics, width);
  const at::Tensor codes =
      unit_rows(at::matmul(codebook.semantics - projection.mean, projection.basis));
  codebook.codes = codes.to(at::kHalf).to(at::kFloat).contiguous();
  validate(codebook);
  return codebook;
}

void check_table(const WordTable& table) {
  const char* const name = "word table";
  check_words(table.words, name);
  check_ids(table.ids, table.words.size(), name);
  check_rows(table.vectors, table.words.size(), "vectors", name);
}

void validate(const LexicalCodebook& codebook) {
  const char* const name = "lexical codebook";
  check_words(codebook.words, name);
  check_ids(codebook.ids, codebook.words.size(), name);
  check_rows(codebook.codes, codebook.words.size(), "codes", name);
  check_unit(codebook.codes, "codes", name);
  if (!codebook.semantics.defined()) return;
  check_rows(codebook.semantics, codebook.words.size(), "semantics", name);
  check_unit(codebook.semantics, "semantics", name);
}

}  // namespace lexel::spae
