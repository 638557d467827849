#include "apps/train/generator/token_store.h"

#include <ATen/ops/empty.h>
#include <charconv>
#include <filesystem>

#include "kernels/check.h"
#include "tokenizers/io/token_file.h"

namespace lexel::train {

TokenStore::TokenStore(const SampleSource& source, const TokenizerInfo& tokenizer)
    : source_(source),
      tokenizer_(tokenizer),
      tokens_(at::empty({source.items(), tokenizer.grid_height * tokenizer.grid_width}, at::kInt)),
      known_(size_t(source.items())),
      is_known_(size_t(source.items()), false) {}

Sample TokenStore::item(int64_t k) const {
  {
    const std::lock_guard lock(mutex_);
    if (is_known_[size_t(k)]) {
      Sample sample = known_[size_t(k)];
      sample.tokens = tokens_[k];
      return sample;
    }
  }
  return source_.item(k);
}

void TokenStore::keep(int64_t k, const Sample& sample) {
  const std::lock_guard lock(mutex_);
  if (is_known_[size_t(k)]) return;
  tokens_[k].copy_(sample.tokens);
  Sample& known = known_[size_t(k)];
  known.caption = sample.caption;
  known.label = sample.label;
  known.kind = sample.kind;
  is_known_[size_t(k)] = true;
}

std::string TokenStore::prefix() const { return source_.fingerprint().substr(0, 16) + "/"; }

void TokenStore::write(const std::string& path) const {
  TokenFile file;
  file.tokenizer_kind = tokenizer_.kind;
  file.codebook_fingerprint = tokenizer_.codebook_fingerprint;
  file.model_name = tokenizer_.name;
  file.codebook_size = tokenizer_.codebook_size;
  file.grid_height = tokenizer_.grid_height;
  file.grid_width = tokenizer_.grid_width;
  file.preprocess = tokenizer_.preprocess;
  const Layout layout = make_layout(tokenizer_.image_size, tokenizer_.image_size, file.preprocess);
  {
    const std::lock_guard lock(mutex_);
    for (size_t k = 0; k < known_.size(); ++k) {
      if (!is_known_[k]) continue;
      file.pictures.push_back({prefix() + std::to_string(k), layout,
                               tokens_.narrow(0, int64_t(k), 1), known_[k].caption,
                               known_[k].label});
    }
  }
  if (!file.pictures.empty()) write_token_file(path, file);
}

void TokenStore::read(const std::string& path) {
  if (!std::filesystem::exists(path)) return;
  const TokenFile file = read_token_file(path);
  check_same_tokenizer(file, tokenizer_);
  for (const TokenizedPicture& picture : file.pictures) {
    const std::string& name = picture.name;
    check(name.rfind(prefix(), 0) == 0, ErrorKind::kBadData, path, ": '", name,
          "' was made from other sprites, backgrounds, seed or scenes: delete the file, or name "
          "another");
    int64_t k = -1;
    std::from_chars(name.data() + prefix().size(), name.data() + name.size(), k);
    if (k < 0 || k >= int64_t(known_.size())) continue;  // of a run with more scenes
    Sample sample;
    sample.caption = picture.caption;
    sample.label = picture.label;
    sample.tokens = picture.tokens[0];
    keep(k, sample);
  }
}

}  // namespace lexel::train
