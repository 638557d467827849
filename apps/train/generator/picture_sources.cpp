#include <algorithm>
#include <filesystem>
#include <map>
#include <sstream>

#include "apps/train/found_pictures.h"
#include "apps/train/generator/samples.h"
#include "kernels/check.h"
#include "kernels/philox.h"
#include "tokenizers/io/picture_label.h"
#include "tokenizers/io/token_file.h"

namespace lexel::train {
namespace {

constexpr int64_t kMinSide = 16;  // pixels; a smaller picture says nothing

bool held_out_by_name(const std::string& name) {
  return fnv1a(std::filesystem::path(name).filename().string()) % 20 == 0;
}

std::string hex(uint64_t hash) {
  std::ostringstream out;
  out << std::hex << hash;
  return out.str();
}

/// A sample as it is kept: its picture still encoded, or its tokens.
struct Kept {
  std::string name, caption;
  int64_t label = -1;
  std::vector<uint8_t> encoded;
  at::Tensor tokens;
};

/// Pictures with what they show, in memory.
class KeptSource : public SampleSource {
 public:
  KeptSource(std::string name, const Preprocess& preprocess)
      : name_(std::move(name)), preprocess_(preprocess) {}

  void add(Kept&& kept, bool held_out) {
    hash_ = fnv1a(concat(hash_, ' ', kept.name, ' ', kept.caption, ' ', kept.label, ' ', held_out,
                         ' ', fnv1a(content(kept))));
    (held_out ? held_out_ : items_).push_back(std::move(kept));
  }
  /// Keeps `most` of what is held out, spread over it; classes of what has only captions.
  void finish(int64_t most, const std::map<std::string, int64_t>& classes) {
    std::vector<Kept> chosen;
    const auto count = int64_t(held_out_.size()), keep = std::min(most, count);
    for (int64_t i = 0; i < keep; ++i)
      chosen.push_back(std::move(held_out_[size_t(i * count / keep)]));
    held_out_ = std::move(chosen);
    for (std::vector<Kept>* all : {&items_, &held_out_}) {
      for (Kept& kept : *all) {
        const auto found = classes.find(kept.caption);
        if (found != classes.end()) kept.label = found->second;
      }
    }
    fingerprint_ = hex(fnv1a(concat(hash_, ' ', most, ' ', classes.size())));
  }

  /// Calls visit(kept) for all, held out or not.
  template <class Visitor>
  void visit_all(const Visitor& visit) const {
    for (const std::vector<Kept>* all : {&items_, &held_out_}) {
      for (const Kept& kept : *all) visit(kept);
    }
  }

  const std::string& name() const override { return name_; }
  int64_t items() const override { return int64_t(items_.size()); }
  int64_t held_out() const override { return int64_t(held_out_.size()); }
  Sample item(int64_t k) const override { return sample(items_, k); }
  Sample held_out_item(int64_t k) const override { return sample(held_out_, k); }
  const std::string& fingerprint() const override { return fingerprint_; }

 private:
  static std::string_view content(const Kept& kept) {
    if (kept.tokens.defined()) {
      return {static_cast<const char*>(kept.tokens.const_data_ptr()), kept.tokens.nbytes()};
    }
    return {reinterpret_cast<const char*>(kept.encoded.data()), kept.encoded.size()};
  }
  /// A picture that turns out broken is replaced by the next one.
  Sample sample(const std::vector<Kept>& all, int64_t k) const {
    for (size_t tried = 1;; ++tried, ++k) {
      const Kept& kept = all[size_t(k) % all.size()];
      Sample result;
      result.caption = kept.caption;
      result.label = kept.label;
      result.tokens = kept.tokens;
      if (kept.tokens.defined()) return result;
      try {
        const Image image = decode_image(kept.encoded.data(), kept.encoded.size(), kept.name);
        result.picture = prepare(image, preprocess_).tiles[0];
        return result;
      } catch (const Error&) {
        if (tried == all.size()) throw;
      }
    }
  }

  std::string name_;
  Preprocess preprocess_;
  std::vector<Kept> items_, held_out_;
  uint64_t hash_ = fnv1a("");
  std::string fingerprint_;
};

bool is_token_file(const std::string& path) {
  return std::filesystem::path(path).extension() == ".safetensors";
}

/// The tiles of a token file's pictures; "tiles" gives several of one caption, which none of them shows.
void add_tokens(const std::string& path, const TokenizerInfo& tokenizer, bool captioned,
                KeptSource& source) {
  const TokenFile file = read_token_file(path);
  check_same_tokenizer(file, tokenizer);
  for (const TokenizedPicture& picture : file.pictures) {
    if (captioned ? picture.caption.empty() : picture.label < 0 && picture.caption.empty())
      continue;
    if (picture.tokens.size(0) != 1) continue;
    source.add({picture.name, picture.caption, picture.label, {}, picture.tokens[0]},
               held_out_by_name(picture.name));
  }
}

}  // namespace

std::vector<std::unique_ptr<SampleSource>> picture_sources(const std::vector<std::string>& inputs,
                                                           const TokenizerInfo& tokenizer,
                                                           bool captioned, const std::string& fit,
                                                           int64_t held_out) {
  Preprocess preprocess = tokenizer.preprocess;
  preprocess.fit = fit;
  std::vector<std::unique_ptr<KeptSource>> sources;
  std::vector<std::string> picture_inputs, skipped;
  for (const std::string& input : inputs) {
    if (!is_token_file(input)) {
      picture_inputs.push_back(input);
      continue;
    }
    const std::string stem = std::filesystem::path(input).stem().string();
    sources.push_back(std::make_unique<KeptSource>(stem.substr(0, stem.find('.')), preprocess));
    add_tokens(input, tokenizer, captioned, *sources.back());
  }
  if (!picture_inputs.empty()) {
    std::map<std::string, KeptSource*> by_set;
    for (FoundPicture& found : find_pictures(picture_inputs, kMinSide, skipped)) {
      PictureLabel label = picture_label(found.bytes.json);
      if (captioned ? label.caption.empty() : label.label < 0 && label.caption.empty()) continue;
      KeptSource*& source = by_set[found.set];
      if (source == nullptr) {
        sources.push_back(std::make_unique<KeptSource>(found.set, preprocess));
        source = sources.back().get();
      }
      source->add({found.bytes.name,
                   std::move(label.caption),
                   label.label,
                   std::move(found.bytes.data),
                   {}},
                  found.held_out);
    }
  }

  // Where no picture says its class, equal captions are one.
  std::map<std::string, int64_t> classes;
  if (!captioned) {
    bool any = false;
    for (const auto& source : sources) {
      source->visit_all([&](const Kept& kept) {
        any = any || kept.label >= 0;
        classes.emplace(kept.caption, 0);
      });
    }
    if (any) classes.clear();
    int64_t next = 0;
    for (auto& entry : classes) entry.second = next++;
  }
  std::vector<std::unique_ptr<SampleSource>> result;
  for (auto& source : sources) {
    source->finish(held_out, classes);
    if (source->items() > 0) result.push_back(std::move(source));
  }
  check(!result.empty() || inputs.empty(), ErrorKind::kUsage,
        "--data: no picture to learn from has a ", captioned ? "caption" : "class or caption");
  return result;
}

}  // namespace lexel::train
