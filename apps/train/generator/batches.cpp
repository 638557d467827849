#include "apps/train/generator/batches.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>
#include <algorithm>
#include <chrono>
#include <utility>

#include "apps/train/schedule.h"
#include "kernels/check.h"
#include "kernels/philox.h"

namespace lexel::train {
namespace {

constexpr int64_t kBatchesAhead = 8;
constexpr const char* kScenes = "scenes";  // the source whose tokens are cached

/// A share for each source: those of the mixture, or the sizes.
std::vector<SampleOrder::Source> shares_of(const GeneratorData& data, const std::string& mixture) {
  auto shares = parse_weights(mixture, "mixture");
  std::vector<SampleOrder::Source> result;
  std::string names;
  for (const auto& source : data.sources) {
    names += (names.empty() ? "" : ", ") + source->name();
    const auto share = shares.extract(source->name());
    check(!share.empty() || mixture.empty(), ErrorKind::kUsage, "mixture: no share for '",
          source->name(), "'");
    check(!mixture.empty() || source->items() > 0 || data.sources.size() == 1, ErrorKind::kUsage,
          "mixture: expected shares where scenes are endless");
    const double size = double(std::max<int64_t>(source->items(), 1));
    result.push_back({source->items(), share.empty() ? size : share.mapped()});
  }
  check(shares.empty(), ErrorKind::kUsage, "mixture: no source '",
        shares.empty() ? "" : shares.begin()->first, "'; sources are ", names);
  return result;
}

}  // namespace

ar::Condition condition_of(const GeneratorData& data, const std::vector<Sample>& samples,
                           const std::vector<bool>& dropped) {
  const auto is_dropped = [&](size_t i) { return i < dropped.size() && dropped[i]; };
  ar::Condition condition;
  if (data.config.text_depth > 0) {
    std::vector<std::string> captions;
    for (size_t i = 0; i < samples.size(); ++i) {
      captions.push_back(is_dropped(i) ? "" : samples[i].caption);
    }
    EncodedCaptions encoded = encode_captions(*data.text, captions, data.config.max_text_tokens);
    condition.text = encoded.ids;
    condition.lengths = encoded.lengths;
  } else if (data.config.classes > 0) {
    condition.classes = at::empty({int64_t(samples.size())}, at::kLong);
    auto* classes = condition.classes.mutable_data_ptr<int64_t>();
    for (size_t i = 0; i < samples.size(); ++i) {
      check(samples[i].label < data.config.classes, ErrorKind::kUsage, "the data has a class ",
            samples[i].label, ", model.classes is ", data.config.classes);
      const bool none = is_dropped(i) || samples[i].label < 0;
      classes[i] = none ? data.config.classes : samples[i].label;
    }
  }
  if (data.config.tasks > 0) {
    condition.tasks = at::empty({int64_t(samples.size())}, at::kLong);
    auto* tasks = condition.tasks.mutable_data_ptr<int64_t>();
    for (size_t i = 0; i < samples.size(); ++i) tasks[i] = samples[i].task;
  }
  return condition;
}

at::Tensor tokens_of(const GeneratorData& data, std::vector<Sample>& samples) {
  std::vector<at::Tensor> pictures;
  for (const Sample& sample : samples) {
    if (!sample.tokens.defined()) pictures.push_back(sample.picture);
  }
  if (!pictures.empty()) {
    const at::Tensor ids = data.tokenizer->encode(at::stack(pictures)).to(at::kInt);  // (n, N)
    int64_t row = 0;
    for (Sample& sample : samples) {
      if (!sample.tokens.defined()) sample.tokens = ids[row++];
    }
  }
  std::vector<at::Tensor> rows;
  for (const Sample& sample : samples) rows.push_back(sample.tokens);
  return at::stack(rows).to(at::kLong);
}

TokenBatches::TokenBatches(const GeneratorData& data, const Options& options)
    : data_(data), options_(options) {
  order_ = std::make_unique<SampleOrder>(shares_of(data, options.mixture), options.seed);
  for (const auto& source : data.sources) {
    stores_.push_back(source->items() > 0
                          ? std::make_unique<TokenStore>(*source, data.tokenizer->info())
                          : nullptr);
    if (source->name() != kScenes || options.cache.empty()) continue;
    check(stores_.back() != nullptr, ErrorKind::kUsage,
          "--cache: the recipe's scenes are endless: set scenes to a number");
    stores_.back()->read(options.cache);
  }
  queue_ = std::make_unique<BatchQueue<Prepared>>(
      [this](int64_t n) { return prepare(options_.share.number(n)); }, options.first,
      options.workers, kBatchesAhead);
}

TokenBatches::~TokenBatches() = default;

TokenBatches::Prepared TokenBatches::prepare(int64_t number) {
  Prepared prepared;
  prepared.text_only = number < options_.text_batches;
  std::vector<bool> dropped;
  for (int64_t i = 0; i < options_.batch; ++i) {
    const int64_t n = number * options_.batch + i;
    const SampleOrder::Place place = order_->at(n);
    const auto& store = stores_[place.source];
    prepared.places.push_back(place);
    prepared.samples.push_back(store ? store->item(place.item)
                                     : data_.sources[place.source]->item(place.item));
    prepared.samples.back().task = int64_t(place.source);
    dropped.push_back(!prepared.text_only &&
                      Philox(options_.seed, "caption drop", uint64_t(n)).uniform() <
                          options_.caption_drop);
  }
  prepared.condition = condition_of(data_, prepared.samples, dropped);
  if (options_.workers_tokenize && !prepared.text_only) tokenize(prepared);
  return prepared;
}

void TokenBatches::tokenize(Prepared& batch) {
  batch.tokens = tokens_of(data_, batch.samples);
  for (size_t i = 0; i < batch.samples.size(); ++i) {
    const SampleOrder::Place& place = batch.places[i];
    if (!batch.samples[i].picture.defined() || !stores_[place.source]) continue;
    stores_[place.source]->keep(place.item, batch.samples[i]);
    cache_grown_ = true;
  }
}

TokenBatch TokenBatches::next() {
  Prepared prepared = queue_->next();
  const auto begin = std::chrono::steady_clock::now();
  if (!prepared.tokens.defined() && !prepared.text_only) tokenize(prepared);
  tokenized_s_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return {std::move(prepared.condition), std::move(prepared.tokens)};
}

void TokenBatches::write_cache() {
  if (options_.cache.empty() || !cache_grown_) return;
  for (size_t i = 0; i < stores_.size(); ++i) {
    if (data_.sources[i]->name() == kScenes) stores_[i]->write(options_.cache);
  }
  cache_grown_ = false;
}

}  // namespace lexel::train
