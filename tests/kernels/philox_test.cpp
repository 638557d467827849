#include "kernels/philox.h"

#include <cmath>
#include <gtest/gtest.h>
#include <set>
#include <vector>

namespace lexel {
namespace {

using Words4 = std::array<uint32_t, 4>;

// Lines "philox4x32 10" of the file kat_vectors of Random123 1.14 (D. E. Shaw Research).
TEST(Philox, EqualsThePublishedKnownAnswers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (Words4{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr uint32_t kAll = 0xffffffff;
  EXPECT_EQ(philox4x32({kAll, kAll, kAll, kAll}, {kAll, kAll}),
            (Words4{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words4{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, StreamIsTheSequenceOfBlocks) {
  Philox random(0x0123456789abcdef, 7, 0x1122334455667788);
  for (uint32_t block = 0; block < 3; ++block) {
    const Words4 wanted = philox4x32({block, 7, 0x55667788, 0x11223344}, {0x89abcdef, 0x01234567});
    for (const uint32_t word : wanted) EXPECT_EQ(random.next_u32(), word);
  }
}

TEST(Philox, SeedPurposeAndIndexEachNameAnotherStream) {
  std::set<uint64_t> firsts;
  for (const uint64_t seed : {uint64_t{1}, uint64_t{2}, uint64_t{1} << 40}) {
    for (const char* purpose : {"crop", "flip"}) {
      for (const uint64_t index : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 40}) {
        firsts.insert(Philox(seed, purpose, index).next_u64());
      }
    }
  }
  EXPECT_EQ(firsts.size(), 18u);
}

TEST(Philox, SameNameGivesTheSameStream) {
  Philox a(3, "crop", 5), b(3, "crop", 5);
  for (int i = 0; i < 9; ++i) EXPECT_EQ(a.next_u64(), b.next_u64());
}

TEST(Philox, HashIsFnv1a) {
  // Test vectors of the FNV page of Landon Curt Noll.
  EXPECT_EQ(fnv1a(""), 0xcbf29ce484222325u);
  EXPECT_EQ(fnv1a("foobar"), 0x85944171f73967e8u);
}

TEST(Philox, UniformIsInRangeWithTheRightMoments) {
  Philox random(11);
  constexpr int kCount = 100000;
  double sum = 0, squares = 0;
  for (int i = 0; i < kCount; ++i) {
    const double value = random.uniform();
    ASSERT_GE(value, 0.0);
    ASSERT_LT(value, 1.0);
    sum += value;
    squares += value * value;
  }
  EXPECT_NEAR(sum / kCount, 0.5, 0.005);  // 5 sigma = 0.0046
  EXPECT_NEAR(squares / kCount, 1.0 / 3, 0.005);
}

TEST(Philox, UniformIntHitsEveryValueEquallyOften) {
  Philox random(12);
  constexpr int kCount = 70000;
  std::vector<int> hits(7);
  for (int i = 0; i < kCount; ++i) ++hits.at(random.uniform_int(7));
  double chi_square = 0;
  for (const int hit : hits) chi_square += std::pow(hit - kCount / 7.0, 2) / (kCount / 7.0);
  EXPECT_LT(chi_square, 22.5);  // 6 degrees of freedom, p = 0.001
  EXPECT_EQ(random.uniform_int(1), 0u);
}

TEST(Philox, UniformIntOfAHugeRangeHasNoBias) {
  // 2^64 mod n is 2^62 here: plain modulo would put half of all values into the lowest third.
  constexpr uint64_t kRange = uint64_t{3} << 62;
  Philox random(13);
  int low = 0;
  for (int i = 0; i < 30000; ++i) low += random.uniform_int(kRange) < kRange / 3;
  EXPECT_NEAR(low / 30000.0, 1.0 / 3, 0.014);  // 5 sigma
}

TEST(Philox, NormalHasTheRightMoments) {
  Philox random(14);
  constexpr int kCount = 100000;
  double sum = 0, squares = 0, fourths = 0;
  for (int i = 0; i < kCount; ++i) {
    const double value = random.normal();
    sum += value;
    squares += value * value;
    fourths += value * value * value * value;
  }
  EXPECT_NEAR(sum / kCount, 0.0, 0.016);
  EXPECT_NEAR(squares / kCount, 1.0, 0.023);
  EXPECT_NEAR(fourths / kCount, 3.0, 0.16);
}

}  // namespace
}  // namespace lexel
