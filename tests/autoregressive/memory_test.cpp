// What drawing takes, counted at LibTorch's allocator.
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <algorithm>
#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>
#include <utility>

#include "autoregressive/generate.h"
#include "tests/autoregressive/tiny_model.h"

namespace lexel::ar {
namespace {

/// Counts bytes on their way to LibTorch's own allocator, while it lives.
class Counted : public c10::Allocator {
 public:
  Counted() : inner_(c10::GetCPUAllocator()) { c10::SetCPUAllocator(this, 1); }
  ~Counted() override { c10::SetCPUAllocator(inner_, 1); }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;

  c10::DataPtr allocate(size_t size) override {
    auto* const block = new Block{this, static_cast<int64_t>(size), inner_->allocate(size)};
    held_ += block->size;
    peak_ = std::max(peak_, held_);
    return {block->data.get(), block, release, c10::Device(c10::kCPU)};
  }
  void copy_data(void* to, const void* from, size_t size) const override {
    default_copy_data(to, from, size);
  }

  int64_t held() const { return held_; }
  int64_t peak() const { return peak_; }
  void forget_peak() { peak_ = held_; }

 private:
  struct Block {
    Counted* owner;
    int64_t size;
    c10::DataPtr data;
  };
  static void release(void* context) {
    auto* const block = static_cast<Block*>(context);
    block->owner->held_ -= block->size;
    delete block;
  }

  c10::Allocator* inner_;
  int64_t held_ = 0, peak_ = 0;
};

// int8 weights of the shipped generator and eight pictures with guidance, the largest group.
TEST(Memory, DrawingStaysNearWeightsAndCache) {
  const Config config = parti_lexel_128();
  const int64_t pictures = 8;
  Counted counted;
  {
    Model fresh = make_model(config, 1, at::kCPU);
    const int64_t unpacked = counted.held();
    counted.forget_peak();
    const PackedModel model = pack(std::move(fresh), kernels::WeightFormat::kInt8);
    // The unpacked model is freed matrix by matrix: on top comes one at a time, with its copies.
    const int64_t largest = 4 * config.codebook_size * config.width;
    EXPECT_LE(counted.peak(), unpacked + 2 * largest);
    EXPECT_NEAR(static_cast<double>(counted.held()), static_cast<double>(weight_bytes(model)),
                0.01 * static_cast<double>(counted.held()));
    EXPECT_LT(weight_bytes(model), unpacked / 2);

    Condition condition, none;
    condition.text = tests::random_ids(1, {pictures, 30}, config.text_vocabulary);
    condition.lengths = at::full({pictures}, 30, at::kLong);
    none.text = at::full({1, 1}, 2, at::kLong);
    none.lengths = at::full({1}, 1, at::kLong);
    counted.forget_peak();
    const int64_t before = counted.held();
    GenerateOptions options;
    options.guidance = 2.0;
    generate(model, condition, none, at::arange(pictures, at::kLong), options, {},
             [](int64_t done, const at::Tensor&) { return done < 24; });
    EXPECT_LT(counted.peak() - before, Decoder::bytes(config, 2 * pictures, options.cache));
    // Two tensors for each block, of keys and values of 256 tokens and 48 pieces in bfloat16.
    const int64_t cache = 2 * config.depth * 2 * pictures * (256 + 48) * config.width * 2;
    EXPECT_LT(counted.peak(), (weight_bytes(model) + cache) * 3 / 2);
    EXPECT_EQ(counted.held(), before);
  }
  EXPECT_EQ(counted.held(), 0);
}

}  // namespace
}  // namespace lexel::ar
