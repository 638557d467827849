#include "kernels/cpu/attention.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <algorithm>
#include <cmath>
#include <hwy/aligned_allocator.h>
#include <limits>
#include <string>
#include <vector>

#include "kernels/cpu/attention_tile.h"
#include "kernels/cpu/machine.h"

namespace lexel::kernels::cpu {
namespace {

constexpr int64_t kGrain = 1 << 16;  // multiplications that are worth a thread

/// Bytes from the start of a tensor (B, heads, tokens, d) to head h of row b.
int64_t head_offset(const at::Tensor& x, int64_t b, int64_t h) {
  return (b * x.stride(0) + h * x.stride(1)) * static_cast<int64_t>(x.element_size());
}

HeadRows rows_of(const at::Tensor& x, int64_t b, int64_t h) {
  return {static_cast<const char*>(x.const_data_ptr()) + head_offset(x, b, h), x.stride(2),
          x.size(3), x.scalar_type() == at::kBFloat16};
}

HeadRowsOut rows_of_result(const at::Tensor& x, int64_t b, int64_t h) {
  return {static_cast<char*>(x.mutable_data_ptr()) + head_offset(x, b, h), x.stride(2), x.size(3),
          x.scalar_type() == at::kBFloat16};
}

/// An unwritten tensor of x's shape and dtype, laid out as (B, tokens, heads, d).
at::Tensor result_like(const at::Tensor& x) {
  return at::empty({x.size(0), x.size(2), x.size(1), x.size(3)}, x.options()).transpose(1, 2);
}

/// The shapes and arrays of one call.
struct Call {
  Call(const at::Tensor& q_in, const at::Tensor& k_in, const at::Tensor& v_in,
       const AttentionMask& mask_in, const at::Tensor& key_mask)
      : batch(q_in.size(0)),
        heads(q_in.size(1)),
        key_heads(k_in.size(1)),
        queries(q_in.size(2)),
        keys(k_in.size(2)),
        mask(mask_in),
        layout(key_layout(mask, keys)),
        scale(static_cast<float>(1.0 / std::sqrt(static_cast<double>(q_in.size(3))))),
        q(q_in),
        k(k_in),
        v(v_in),
        width((q.size(3) + kWidthStep - 1) / kWidthStep * kWidthStep),
        blocks((queries + kBlockQueries - 1) / kBlockQueries) {
    if (!key_mask.defined()) return;
    // 0 and -infinity, with a chunk more; and where the padding at the end of each row begins.
    const at::Tensor mask_rows = key_mask.contiguous();  // (B, M)
    const bool* const real = mask_rows.const_data_ptr<bool>();
    key_bias = at::empty({batch, keys + layout.chunk}, at::kFloat);
    float* const bias = key_bias.mutable_data_ptr<float>();
    for (int64_t b = 0; b < batch; ++b) {
      float* const row = bias + b * (keys + layout.chunk);
      int64_t end = 0;
      std::fill_n(row, keys + layout.chunk, 0.0F);
      for (int64_t key = 0; key < keys; ++key) {
        if (real[b * keys + key]) {
          end = key + 1;
        } else {
          row[key] = -std::numeric_limits<float>::infinity();
        }
      }
      key_ends.push_back(end);
    }
  }

  int64_t key_head_of(int64_t head) const { return head / (heads / key_heads); }

  /// All but the arrays of the key head.
  AttentionHead head(int64_t b, int64_t h) const {
    AttentionHead head{};
    head.mask = mask;
    head.layout = layout;
    head.scale = scale;
    head.width = width;
    head.queries = queries;
    head.keys = key_ends.empty() ? keys : key_ends[static_cast<size_t>(b)];
    head.q = rows_of(q, b, h);
    head.key_bias =
        key_ends.empty() ? nullptr : key_bias.const_data_ptr<float>() + b * (keys + layout.chunk);
    return head;
  }

  int64_t batch, heads, key_heads, queries, keys;
  AttentionMask mask;
  KeyLayout layout;
  float scale;
  const at::Tensor &q, &k, &v;
  int64_t width;   // padded
  int64_t blocks;  // of queries
  at::Tensor key_bias;
  std::vector<int64_t> key_ends;  // of each row of the batch, where there is a key mask
};

using Scratch = hwy::AlignedFreeUniquePtr<float[]>;

Scratch scratch_of(int64_t floats) {
  return hwy::AllocateAligned<float>(static_cast<size_t>(floats));
}

/// A thread's copy of the key head in work, as the tiles read it: one head's memory, and near. (Rows of a fused qkv lie some
/// KiB apart, and would share a few sets of the cache.)
class KeyHead {
 public:
  KeyHead(const Call& call, bool backward)
      : call_(call),
        keys_transposed_(scratch_of(packed_size())),
        v_(scratch_of(call.keys * call.width)) {
    if (!backward) return;
    values_transposed_ = scratch_of(packed_size());
    k_ = scratch_of(call.keys * call.width);
  }

  void load(int64_t b, int64_t g) {
    if (b == b_ && g == g_) return;
    b_ = b, g_ = g;
    pack(call_.k, keys_transposed_);
    copy(call_.v, v_);
    if (k_ == nullptr) return;
    pack(call_.v, values_transposed_);
    copy(call_.k, k_);
  }

  const float* keys_transposed() const { return keys_transposed_.get(); }
  const float* values_transposed() const { return values_transposed_.get(); }
  const float* k() const { return k_.get(); }
  const float* v() const { return v_.get(); }

 private:
  int64_t packed_size() const { return call_.layout.size(call_.keys, call_.width); }

  void pack(const at::Tensor& x, const Scratch& target) const {
    pack_keys(rows_of(x, b_, g_), call_.keys, call_.width, call_.layout, target.get());
  }

  void copy(const at::Tensor& x, const Scratch& target) const {
    read_rows(rows_of(x, b_, g_), call_.keys, call_.width, target.get());
  }

  const Call& call_;
  int64_t b_ = -1, g_ = -1;
  Scratch keys_transposed_, values_transposed_, k_, v_;
};

}  // namespace

AttentionForward attention_forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                   const AttentionMask& mask, const at::Tensor& key_mask) {
  const Call call(q, k, v, mask, key_mask);
  const at::Tensor out = result_like(q);
  const at::Tensor log_sum_exp = at::empty({call.batch, call.heads, call.queries}, at::kFloat);
  const int64_t block_cost =
      std::min(call.queries, kBlockQueries) * std::min(call.keys, kPanelKeys) * call.width;
  at::parallel_for(
      0, call.batch * call.heads * call.blocks, 1 + kGrain / block_cost,
      [&](int64_t first, int64_t last) {
        const Scratch scratch = scratch_of(forward_scratch(call.width));
        KeyHead key_head(call, /*backward=*/false);
        for (int64_t i = first; i < last; ++i) {
          const int64_t b = i / call.blocks / call.heads, h = i / call.blocks % call.heads;
          key_head.load(b, call.key_head_of(h));
          AttentionHead head = call.head(b, h);
          head.keys_transposed = key_head.keys_transposed();
          head.v = key_head.v();
          forward_block(head, i % call.blocks, rows_of_result(out, b, h),
                        log_sum_exp.mutable_data_ptr<float>() + (b * call.heads + h) * call.queries,
                        scratch.get());
        }
      });
  return {out, log_sum_exp};
}

AttentionGradients attention_backward(const at::Tensor& grad, const at::Tensor& q,
                                      const at::Tensor& k, const at::Tensor& v,
                                      const AttentionForward& forward, const AttentionMask& mask,
                                      const at::Tensor& key_mask) {
  const Call call(q, k, v, mask, key_mask);
  const AttentionGradients result{result_like(q), result_like(k), result_like(v)};
  const int64_t grad_size = (call.keys + kPanelKeys) * call.width;
  const int64_t group = call.heads / call.key_heads;

  // A thread does all of a key head, so that sums over queries need no order among threads.
  at::parallel_for(0, call.batch * call.key_heads, 1, [&](int64_t first, int64_t last) {
    const Scratch k_sums = scratch_of(grad_size), v_sums = scratch_of(grad_size);
    const Scratch scratch = scratch_of(backward_scratch(call.width));
    KeyHead key_head(call, /*backward=*/true);
    for (int64_t i = first; i < last; ++i) {
      const int64_t b = i / call.key_heads, g = i % call.key_heads;
      key_head.load(b, g);
      std::fill_n(k_sums.get(), grad_size, 0.0F);
      std::fill_n(v_sums.get(), grad_size, 0.0F);
      for (int64_t h = g * group; h < (g + 1) * group; ++h) {
        AttentionHeadBackward work{};
        work.head = call.head(b, h);
        work.head.keys_transposed = key_head.keys_transposed();
        work.head.v = key_head.v();
        work.k = key_head.k();
        work.values_transposed = key_head.values_transposed();
        work.grad = rows_of(grad, b, h);
        work.out = rows_of(forward.out, b, h);
        work.log_sum_exp =
            forward.log_sum_exp.const_data_ptr<float>() + (b * call.heads + h) * call.queries;
        for (int64_t block = 0; block < call.blocks; ++block) {
          backward_block(work, block, rows_of_result(result.q, b, h), k_sums.get(), v_sums.get(),
                         scratch.get());
        }
      }
      write_rows(k_sums.get(), call.keys, call.width, rows_of_result(result.k, b, g));
      write_rows(v_sums.get(), call.keys, call.width, rows_of_result(result.v, b, g));
    }
  });
  return result;
}

std::string attention_path() {
  const std::string tiles = std::string("float32 tiles (") + vector_target_name() + ")";
  return has_amx_bf16() ? tiles + "; bfloat16 without a mask: LibTorch's AMX products" : tiles;
}

}  // namespace lexel::kernels::cpu
