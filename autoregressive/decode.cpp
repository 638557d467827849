#include "autoregressive/decode.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>
#include <algorithm>
#include <map>
#include <type_traits>

#include "autoregressive/encode.h"
#include "kernels/check.h"
#include "kernels/machine.h"

namespace lexel::ar {
namespace {

int64_t num_tokens(const Config& config) { return config.grid_height * config.grid_width; }

/// The most units that a feed-forward layer holds at once for a row.
int64_t widest_hidden(const Config& config) {
  if (config.routing == "static") return std::max<int64_t>(1, config.experts) * config.hidden;
  return (config.activation == "geglu" ? 3 : config.experts > 0 ? 2 : 1) * config.hidden;
}

int64_t places(const Config& config) {
  return std::max(num_tokens(config), config.text_depth > 0 ? config.max_text_tokens : 0);
}

void check_cache_dtype(at::ScalarType cache) {
  check_arg(cache == at::kFloat || cache == at::kBFloat16 || cache == at::kChar, "ar::Decoder",
            "expected a cache of float32, bfloat16 or int8, got ", cache);
}

/// Bytes of a rank's heads in a cache of one block with room for `capacity` keys.
int64_t cache_bytes(const Config& config, int64_t rows, int64_t capacity, at::ScalarType cache,
                    int64_t ranks) {
  const int64_t heads = (config.heads + ranks - 1) / ranks, head = config.width / config.heads;
  const int64_t scale = cache == at::kChar ? 4 : 0;
  const int64_t number = cache == at::kFloat ? 4 : cache == at::kBFloat16 ? 2 : 1;
  return 2 * rows * capacity * heads * (head * number + scale);
}

void check_ids(const at::Tensor& ids, int64_t rows, int64_t most, const at::Tensor& like,
               const char* what, int64_t dimensions) {
  const char* const name = "ar::Decoder";
  check_arg(ids.defined(), name, "expected ", what, ", got none");
  check_arg(ids.scalar_type() == at::kLong && ids.dim() == dimensions && ids.size(0) == rows &&
                ids.device() == like.device(),
            name, "expected int64 ", what, " for ", rows, " rows on ", like.device(), ", got ",
            ids.scalar_type(), " ", ids.sizes(), " on ", ids.device());
  if (!ids.is_cpu()) return;  // a look would wait for the device; its look-ups check
  const at::Tensor flat = ids.contiguous();
  const int64_t* const values = flat.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < flat.numel(); ++i) {
    check_arg(values[i] >= 0 && values[i] <= most, "ar::Decoder", "expected ", what, " in 0..",
              most, ", got ", values[i]);
  }
}

}  // namespace

int64_t Decoder::bytes(const Config& config, int64_t rows, at::ScalarType cache, int64_t ranks) {
  check_cache_dtype(cache);
  const int64_t text =
      config.text_depth > 0 ? cache_bytes(config, rows, config.max_text_tokens, cache, ranks) : 0;
  // Of a step: logits, and what a block holds at once, for as many rows as a step may have.
  const int64_t step = 4 * (2 * rows * config.codebook_size +
                            kMaxRows * (8 * config.width + 2 * widest_hidden(config)));
  // Of the start: a caption on its way through the encoder, then each caption's keys and values.
  const int64_t encoded = config.text_depth > 0
                              ? 4 * config.max_text_tokens *
                                    ((2 * config.depth + 2) * rows * config.width +
                                     8 * config.width + 2 * widest_hidden(config))
                              : 0;
  return config.depth * (cache_bytes(config, rows, num_tokens(config), cache, ranks) + text) +
         step + encoded + 8 * rows * places(config);
}

Decoder::Decoder(const PackedModel& model, int64_t rows, at::ScalarType cache)
    : model_(model), rows_(rows) {
  check_arg(rows >= 1 && rows <= kMaxRows, "ar::Decoder", "expected 1 to ", kMaxRows, " rows, got ",
            rows);
  const Config& config = model.model.config;
  const at::Tensor& like = model.positions;
  const int64_t ranks = model.share.ranks, heads = model.share.own(config.heads);
  const int64_t needed = bytes(config, rows, cache, ranks);
  if (like.is_cpu()) {
    const int64_t available = kernels::available_memory_bytes();
    check(needed <= available, ErrorKind::kUnsupported, "drawing ", rows, " rows of ",
          num_tokens(config), " tokens needs ", needed, " bytes of memory, ", available,
          " are available: draw fewer pictures at once, or take an int8 cache");
  }
  const int64_t head = config.width / config.heads;
  try {
    for (int64_t i = 0; i < config.depth; ++i) {
      self_.push_back(
          kernels::make_kv_cache(rows, heads, num_tokens(config), head, cache, like.device()));
      if (config.text_depth == 0) continue;
      cross_.push_back(
          kernels::make_kv_cache(rows, heads, config.max_text_tokens, head, cache, like.device()));
    }
  } catch (const c10::OutOfMemoryError&) {
    fail(ErrorKind::kUnsupported, "drawing ", rows, " rows of ", num_tokens(config),
         " tokens needs ", needed, " bytes of memory on ", like.device(),
         ", and there are fewer: draw fewer pictures at once, or take an int8 cache");
  }
  places_ = at::arange(places(config), like.options().dtype(at::kLong))
                .unsqueeze(1)
                .expand({-1, rows})
                .contiguous();
}

void Decoder::fill_text(const Condition& condition) {
  const Config& config = model_.model.config;
  const at::Tensor& like = model_.positions;
  check_ids(condition.lengths, rows_, config.max_text_tokens, like, "text lengths", 1);
  check_ids(condition.text, rows_, config.text_vocabulary - 1, like, "text", 2);
  const at::Tensor lengths = condition.lengths.cpu().contiguous();
  const at::Tensor text = condition.text.cpu().contiguous();
  const int64_t* const length = lengths.const_data_ptr<int64_t>();
  const int64_t* const pieces = text.const_data_ptr<int64_t>();

  // Equal captions are encoded once: the unconditional rows are equal.
  std::map<std::vector<int64_t>, std::vector<at::Tensor>> encoded;  // by task and pieces
  std::vector<const std::vector<at::Tensor>*> of_row;               // by block: (length, 2, H, d)
  for (int64_t row = 0; row < rows_; ++row) {
    check_arg(length[row] >= 1 && length[row] <= text.size(1), "ar::Decoder",
              "expected text lengths in 1..", text.size(1), ", got ", length[row]);
    const int64_t* const first = pieces + row * text.size(1);
    std::vector<int64_t> key(first, first + length[row]);
    at::Tensor task;  // (1)
    if (tasks_.defined()) {
      task = tasks_.slice(0, row, row + 1);
      key.push_back(task.item<int64_t>());
    }
    const auto [entry, is_new] = encoded.try_emplace(key);
    if (is_new) {
      entry->second =
          encode_caption(model_, condition.text[row].slice(0, 0, length[row]).contiguous(), task);
    }
    of_row.push_back(&entry->second);
  }
  text_lengths_ = condition.lengths.contiguous();

  const int64_t longest = *std::max_element(length, length + rows_);
  for (size_t i = 0; i < cross_.size(); ++i) {
    const at::Tensor kv = at::zeros(  // past a row's length nothing is read
        {longest, rows_, 2, model_.share.own(config.heads), config.width / config.heads},
        like.options());
    for (int64_t row = 0; row < rows_; ++row) {
      const at::Tensor& source = (*of_row[static_cast<size_t>(row)])[i];
      kv.slice(0, 0, source.size(0)).select(1, row).copy_(source);
    }
    for (int64_t p = 0; p < longest; ++p) {
      kernels::append_(cross_[i], kv[p].select(1, 0), kv[p].select(1, 1), places_[p]);
    }
  }
}

at::Tensor Decoder::start(const Condition& condition, const at::Tensor& given) {
  const at::NoGradGuard no_grad;
  const Model& model = model_.model;
  const Config& config = model.config;
  const at::Tensor& like = model_.positions;
  if (given.defined()) {
    check_ids(given, rows_, config.codebook_size - 1, like, "tokens", 2);
    check_arg(given.size(1) < num_tokens(config), "ar::Decoder", "expected fewer than ",
              num_tokens(config), " given tokens, got ", given.size(1));
  }
  if (config.tasks > 0) {
    check_ids(condition.tasks, rows_, config.tasks - 1, like, "tasks", 1);
    tasks_ = condition.tasks.contiguous();
  }
  at::Tensor first;  // (rows, D)
  if (config.text_depth > 0) {
    fill_text(condition);
    first = model.start.expand({rows_, -1});
  } else if (config.classes > 0) {
    check_ids(condition.classes, rows_, config.classes, like, "classes", 1);
    first = model.start.index_select(0, condition.classes);
  } else {
    first = model.start.expand({rows_, -1});
  }
  position_ = -1;
  at::Tensor x = first.unsqueeze(0);  // (1, rows, D)
  if (given.defined() && given.size(1) > 0) {
    const at::Tensor ids = given.t().reshape({-1});  // n rows
    x = at::cat({x, model.token_embedding.index_select(0, ids).view({-1, rows_, config.width})});
  }
  return run(x);
}

at::Tensor Decoder::feed(const at::Tensor& tokens) {
  const at::NoGradGuard no_grad;
  const Config& config = model_.model.config;
  check_arg(position_ >= 0, "ar::Decoder", "expected start() before the first step");
  check_ids(tokens, rows_, config.codebook_size - 1, model_.positions, "tokens", 2);
  check_arg(tokens.size(1) >= 1 && position_ + tokens.size(1) < num_tokens(config), "ar::Decoder",
            "expected 1 to ", num_tokens(config) - 1 - position_, " more tokens after token ",
            position_, " of ", num_tokens(config), ", got ", tokens.size(1));
  const at::Tensor ids = tokens.size(1) == 1 ? tokens.select(1, 0) : tokens.t().reshape({-1});
  return run(model_.model.token_embedding.index_select(0, ids).view({-1, rows_, config.width}));
}

at::Tensor Decoder::run_blocks(const at::Tensor& x, const kernels::DecodeRows& rows) {
  const auto& blocks = model_.blocks;
  at::Tensor y = x;
  for (size_t begin = 0; begin < blocks.size();) {
    size_t end = begin;  // blocks up to the next whose feed-forward layer is not the kernel's
    while (end < blocks.size() && model_.feed_forward[end].up.empty()) ++end;
    end = std::min(end + 1, blocks.size());
    const bool is_all = begin == 0 && end == blocks.size();
    const auto part = [&](const auto& all) {  // shares its tensors
      using Vector = std::decay_t<decltype(all)>;
      const auto at = [&](size_t i) { return all.begin() + static_cast<int64_t>(i); };
      return all.empty() ? Vector() : Vector(at(begin), at(end));
    };
    if (is_all && model_.share.ranks == 1) {
      y = kernels::decode_blocks(y, blocks, self_, cross_, rows);
    } else {
      std::vector<kernels::KvCache> self = part(self_);
      y = model_.share.ranks == 1
              ? kernels::decode_blocks(y, part(blocks), self, part(cross_), rows)
              : kernels::decode_blocks_by_parts(y, part(blocks), self, part(cross_), rows,
                                                model_.share);
    }
    const PackedFeedForward& last = model_.feed_forward[end - 1];
    if (!last.up.empty()) {
      const at::Tensor tasks = tasks_.defined() ? tasks_.repeat({x.size(0)}) : tasks_;
      y = add_feed_forward(last, y.flatten(0, 1), tasks, model_.share).view(x.sizes());
    }
    begin = end;
  }
  return y;
}

at::Tensor Decoder::run(const at::Tensor& x) {
  const int64_t most = std::max<int64_t>(1, kMaxRows / rows_);
  at::Tensor last;  // (rows, D)
  for (int64_t done = 0; done < x.size(0); done += most) {
    const int64_t count = std::min(most, x.size(0) - done);
    const int64_t first = position_ + 1;
    const at::Tensor input =  // (count, rows, D)
        x.slice(0, done, done + count)
            .add(model_.positions.slice(0, first, first + count).unsqueeze(1));
    const at::Tensor out =
        run_blocks(input, {places_.slice(0, first, first + count), text_lengths_});
    last = out[count - 1];
    position_ += count;
  }
  const LayerNorm& norm = model_.model.decoder_norm;
  return apply_packed(model_.softmax, last, {norm.weight, norm.bias}, kernels::Activation::kNone,
                      {}, model_.share, model_.model.config.codebook_size);
}

}  // namespace lexel::ar
