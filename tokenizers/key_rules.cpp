#include "tokenizers/key_rules.h"

#include <optional>
#include <sstream>

#include "kernels/check.h"

namespace lexel {
namespace {

std::vector<std::string> parts_of(const std::string& key) {
  std::vector<std::string> parts;
  std::istringstream in(key);
  for (std::string part; std::getline(in, part, '.');) parts.push_back(part);
  return parts;
}

/// What the stars of the pattern stand for; nothing when the key does not fit.
std::optional<std::vector<std::string>> match(const std::string& pattern, const std::string& key) {
  const auto wanted = parts_of(pattern), parts = parts_of(key);
  std::vector<std::string> stars;
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i] == "**") return stars;
    if (i >= parts.size()) return std::nullopt;
    if (wanted[i] == "*") {
      stars.push_back(parts[i]);
    } else if (wanted[i] != parts[i]) {
      return std::nullopt;
    }
  }
  if (wanted.size() != parts.size()) return std::nullopt;
  return stars;
}

std::string fill(const std::string& pattern, const std::vector<std::string>& stars) {
  std::string out;
  size_t next = 0;
  for (const char c : pattern) {
    if (c == '*') {
      out += stars.at(next++);
    } else {
      out += c;
    }
  }
  return out;
}

at::Tensor transformed(Transform transform, const at::Tensor& tensor, int64_t patch_size,
                       const std::string& where) {
  const auto want = [&](bool ok, const char* expected) {
    check(ok, ErrorKind::kBadData, where, ": expected shape ", expected, ", got ", tensor.sizes());
  };
  switch (transform) {
    case Transform::kCopy:
      return tensor;
    case Transform::kDropFirstAxis:
      want(tensor.dim() > 1 && tensor.size(0) == 1, "(1, ...)");
      return tensor.squeeze(0);
    case Transform::kFlatten:
      want(tensor.dim() > 1, "(D, ...)");
      return tensor.flatten(1);
    case Transform::kFlattenTransposed:
      want(tensor.dim() > 1, "(D, ...)");
      return tensor.flatten(1).t();
    case Transform::kRepeatPerPixel:
      want(tensor.dim() == 1, "(C)");
      return tensor.repeat_interleave(patch_size * patch_size);
  }
  fail(ErrorKind::kInternal, where, ": unknown transform");
}

}  // namespace

TensorMap apply_rules(const KeyRules& rules, const TensorMap& tensors, int64_t patch_size,
                      const std::string& name) {
  TensorMap result;
  for (const auto& [key, tensor] : tensors) {
    const std::string where = concat(name, ": tensor \"", key, "\"");
    bool known = false;
    for (const KeyRule& rule : rules) {
      const auto stars = match(rule.theirs, key);
      if (!stars.has_value()) continue;
      known = true;
      if (*rule.ours == '\0') break;
      const std::string ours = fill(rule.ours, *stars);
      const bool is_new =
          result.emplace(ours, transformed(rule.transform, tensor, patch_size, where)).second;
      check(is_new, ErrorKind::kBadData, where, " is a second ", ours);
      break;
    }
    check(known, ErrorKind::kBadData, where, " does not belong to this family");
  }
  return result;
}

std::string their_name(const KeyRules& rules, const std::string& ours) {
  for (const KeyRule& rule : rules) {
    const auto stars = match(rule.ours, ours);
    if (*rule.ours != '\0' && stars.has_value()) return fill(rule.theirs, *stars);
  }
  return ours;
}

}  // namespace lexel
