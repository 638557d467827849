#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/adaptive_avg_pool2d.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <algorithm>
#include <charconv>
#include <filesystem>
#include <iomanip>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "apps/eval/metrics.h"
#include "apps/eval/probe/linear_probe.h"
#include "apps/eval/probe/options.h"
#include "apps/picture_stream.h"
#include "apps/progress.h"
#include "apps/spool.h"
#include "autoregressive/generator_file.h"
#include "kernels/check.h"
#include "kernels/device.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/sha256.h"
#include "tokenizers/load.h"

namespace lexel::cli {
namespace {

using nlohmann::ordered_json;

constexpr int64_t kMaxPixelSide = 32;  // of what the probe on pixels sees

/// A part of the data, as the probes see it.
struct Part {
  std::vector<at::Tensor> pixels;               // (b, 3 s s)
  std::vector<at::Tensor> tokens;               // (b, N) int64
  std::vector<std::vector<at::Tensor>> blocks;  // of each probed block: (b, D)
  std::vector<int64_t> labels;
  std::vector<std::string> captions;
  std::string hashes;  // of pictures and what they are
  int64_t count() const { return static_cast<int64_t>(captions.size()); }
};

std::vector<int64_t> chosen_blocks(const std::string& text, int64_t depth) {
  if (text == "middle") return {(depth - 1) / 2};
  std::vector<int64_t> blocks;
  if (text == "all") {
    for (int64_t i = 0; i < depth; ++i) blocks.push_back(i);
    return blocks;
  }
  int64_t block = -1;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), block);
  check(parsed.ec == std::errc() && parsed.ptr == text.data() + text.size() && block >= 0 &&
            block < depth,
        ErrorKind::kUsage, "--blocks: expected middle, all or a number in 0 to ", depth - 1,
        ", got \"", text, "\"");
  return {block};
}

/// No caption and no class: the features must not be told the answer.
ar::Condition unconditional(const ar::Generator& generator, int64_t rows, at::Device device) {
  const ar::Config& config = generator.model.config;
  ar::Condition condition;
  if (config.text_depth > 0) {
    condition.text = at::full({rows, 1}, generator.text->symbols().end, at::kLong).to(device);
    condition.lengths = at::full({rows}, 1, at::kLong).to(device);
  } else {
    condition.classes = at::full({rows}, config.classes, at::kLong).to(device);
  }
  return condition;
}

class Gatherer {
 public:
  explicit Gatherer(const EvalProbeOptions& options)
      : options_(options),
        device_(resolve_device(options.device)),
        tokenizer_(load_image_tokenizer(options.tokenizer, options.device)),
        generator_(ar::load_generator(options.generator, device_)) {
    const TokenizerInfo& info = tokenizer_->info();
    check(info.codebook_fingerprint == generator_.codebook_fingerprint, ErrorKind::kBadData,
          options.generator, " was trained with ", generator_.tokenizer_name,
          ", whose codebook is not that of ", options.tokenizer);
    blocks_ = chosen_blocks(options.blocks, generator_.model.config.depth);
    for (Part* const part : {&train_, &test_}) part->blocks.resize(blocks_.size());
  }

  void run() {
    PictureStream stream(options_.data, tokenizer_->info().preprocess, 0);
    Progress progress("lexel eval probe", stream.size_hint(), "pictures", options_.quiet);
    StreamedPicture picture;
    int64_t seen = 0;
    while (stream.next(picture)) {
      progress.update(++seen);
      check(picture.problem.empty(), picture.problem_kind, picture.problem);
      Part& part = picture.label.held_out ? test_ : train_;
      const int64_t most = picture.label.held_out ? options_.test : options_.train;
      if (most > 0 && part.count() >= most) continue;
      if (picture.label.label < 0 && picture.label.caption.empty()) continue;
      part.captions.push_back(picture.label.caption);
      part.labels.push_back(picture.label.label);
      std::vector<at::Tensor>& waiting = picture.label.held_out ? waiting_test_ : waiting_train_;
      waiting.push_back(picture.prepared.tiles.narrow(0, 0, 1));
      if (static_cast<int64_t>(waiting.size()) == options_.batch) measure(waiting, part);
    }
    measure(waiting_train_, train_);
    measure(waiting_test_, test_);
    check(train_.count() >= 2 && test_.count() >= 1, ErrorKind::kUsage,
          "lexel eval probe: expected pictures with classes to learn from and held-out ones "
          "(\"split\": \"heldout\"), got ",
          train_.count(), " and ", test_.count());
    name_classes();
  }

  const ar::Generator& generator() const { return generator_; }
  const TokenizerInfo& info() const { return tokenizer_->info(); }
  const std::vector<int64_t>& blocks() const { return blocks_; }
  const Part& train() const { return train_; }
  const Part& test() const { return test_; }
  int64_t classes() const { return classes_; }

 private:
  void measure(std::vector<at::Tensor>& waiting, Part& part) {
    if (waiting.empty()) return;
    const at::NoGradGuard no_grad;
    const at::Tensor pictures = at::cat(waiting);  // (b, 3, S, S)
    waiting.clear();
    const int64_t rows = pictures.size(0), side = std::min(pictures.size(2), kMaxPixelSide);
    part.pixels.push_back(at::adaptive_avg_pool2d(pictures, {side, side}).flatten(1));
    part.tokens.push_back(tokenizer_->encode(pictures));
    const ar::Condition condition = unconditional(generator_, rows, device_);
    for (size_t i = 0; i < blocks_.size(); ++i) {
      part.blocks[i].push_back(
          ar::features(generator_.model, condition, part.tokens.back().to(device_), blocks_[i])
              .mean(1)
              .cpu());
    }
    for (int64_t i = 0; i < rows; ++i) {
      const at::Tensor picture = pictures[i].contiguous();
      part.hashes += sha256(picture.const_data_ptr(), picture.nbytes());
    }
  }

  /// Where no picture says its class, equal captions are one, in alphabetical order.
  void name_classes() {
    const auto labelled = [](const Part& part) {
      return std::all_of(part.labels.begin(), part.labels.end(), [](int64_t k) { return k >= 0; });
    };
    if (!labelled(train_) || !labelled(test_)) {
      std::map<std::string, int64_t> names;
      for (const Part* const part : {&train_, &test_}) {
        for (const std::string& caption : part->captions) names.emplace(caption, 0);
      }
      int64_t next = 0;
      for (auto& entry : names) entry.second = next++;
      for (Part* const part : {&train_, &test_}) {
        for (size_t i = 0; i < part->labels.size(); ++i) {
          part->labels[i] = names.at(part->captions[i]);
        }
      }
    }
    for (const Part* const part : {&train_, &test_}) {
      for (const int64_t label : part->labels) classes_ = std::max(classes_, label + 1);
    }
    constexpr int64_t kMostClasses = 10000;
    check(classes_ >= 2 && classes_ <= kMostClasses, ErrorKind::kUsage,
          "lexel eval probe: expected 2 to ", kMostClasses, " classes, got ", classes_);
  }

  const EvalProbeOptions& options_;
  at::Device device_;
  std::unique_ptr<ImageTokenizer> tokenizer_;
  ar::Generator generator_;
  std::vector<int64_t> blocks_;
  Part train_, test_;
  std::vector<at::Tensor> waiting_train_, waiting_test_;
  int64_t classes_ = 0;
};

eval::ProbeInputs dense(const std::vector<at::Tensor>& parts) {
  const at::Tensor x = at::cat(parts);
  return {x, {}, x.size(1)};
}

/// Each token at its place: place p with code k is input p K + k.
eval::ProbeInputs placed_tokens(const std::vector<at::Tensor>& parts, int64_t codes) {
  const at::Tensor ids = at::cat(parts);
  return {{}, ids + at::arange(ids.size(1), at::kLong) * codes, ids.size(1) * codes};
}

/// How often each code occurs.
eval::ProbeInputs counted_tokens(const std::vector<at::Tensor>& parts, int64_t codes) {
  return {{}, at::cat(parts), codes};
}

ordered_json measured(const std::string& name, const eval::ProbeInputs& train,
                      const eval::ProbeInputs& test, const Gatherer& data) {
  const at::Tensor train_labels = at::tensor(data.train().labels, at::kLong),
                   test_labels = at::tensor(data.test().labels, at::kLong);
  const eval::ChosenProbe chosen = eval::choose_probe(train, train_labels, data.classes());
  const auto right = [&](const eval::ProbeInputs& inputs, const at::Tensor& labels) {
    return eval::predict(chosen.probe, inputs).eq(labels).sum().item<int64_t>();
  };
  const eval::Interval accuracy =
      eval::wilson_interval(right(test, test_labels), data.test().count());
  return {{"probe on", name},
          {"inputs", train.width},
          {"accuracy", accuracy.estimate},
          {"low", accuracy.low},
          {"high", accuracy.high},
          {"accuracy on what it learnt from", static_cast<double>(right(train, train_labels)) /
                                                  static_cast<double>(data.train().count())},
          {"weight decay", chosen.decay}};
}

ordered_json report(const EvalProbeOptions& options, const Gatherer& data) {
  const Part &train = data.train(), &test = data.test();
  const int64_t codes = data.info().codebook_size;
  ordered_json probes = ordered_json::array();
  for (size_t i = 0; i < data.blocks().size(); ++i) {
    probes.push_back(measured(concat("mean of block ", data.blocks()[i]), dense(train.blocks[i]),
                              dense(test.blocks[i]), data));
  }
  probes.push_back(measured("pixels", dense(train.pixels), dense(test.pixels), data));
  probes.push_back(measured("tokens at their places", placed_tokens(train.tokens, codes),
                            placed_tokens(test.tokens, codes), data));
  probes.push_back(measured("counts of tokens", counted_tokens(train.tokens, codes),
                            counted_tokens(test.tokens, codes), data));
  std::string set = test.hashes;
  for (int64_t i = 0; i < test.count(); ++i) {
    set += concat(test.labels[static_cast<size_t>(i)], ' ');
  }
  return {{"generator", std::filesystem::path(options.generator).filename().string()},
          {"tokenizer", data.info().name},
          {"data", options.data},
          {"classes", data.classes()},
          {"pictures to learn from", train.count()},
          {"held-out pictures", test.count()},
          {"reference set SHA-256", sha256(set.data(), set.size())},
          {"recipe",
           "softmax regression by L-BFGS from zeros, standardised features, weight decay chosen on "
           "the last tenth of the pictures to learn from; blocks are fed without class or caption; "
           "pixels at 32 x 32 at most; intervals: 95 %, Wilson; nothing is random"},
          {"probes", probes}};
}

std::string table(const ordered_json& report) {
  std::ostringstream out;
  out << report["generator"].get<std::string>() << ": " << report["classes"] << " classes, "
      << report["pictures to learn from"] << " pictures to learn from, "
      << report["held-out pictures"] << " held out (set "
      << report["reference set SHA-256"].get<std::string>().substr(0, 12) << ")\n";
  out << std::fixed << std::setprecision(1);
  for (const ordered_json& probe : report["probes"]) {
    const auto percent = [&](const char* key) { return 100.0 * probe[key].get<double>(); };
    out << "  " << std::left << std::setw(26) << probe["probe on"].get<std::string>() << std::right
        << std::setw(8) << probe["inputs"] << " inputs  " << std::setw(5) << percent("accuracy")
        << " %  [" << percent("low") << ", " << percent("high") << "]\n";
  }
  return out.str();
}

}  // namespace

int run_eval_probe(const EvalProbeOptions& options) {
  Gatherer data(options);
  data.run();
  const ordered_json result = report(options, data);
  if (!options.output.empty()) write_file(options.output, result.dump(2) + "\n");
  write_stdout(table(result));
  return 0;
}

}  // namespace lexel::cli
