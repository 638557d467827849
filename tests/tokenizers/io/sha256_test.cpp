#include "tokenizers/io/sha256.h"

#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"

namespace lexel {
namespace {

TEST(Sha256, AgreesWithFips180) {
  EXPECT_EQ(sha256("", 0), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256("abc", 3), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(CodebookFingerprint, IsTheHashOfSizesAndValues) {
  const at::Tensor codes = at::tensor({1.0f, 2.0f}).view({1, 2});
  const std::string bytes("lexel-codebook 1 2\n\x00\x00\x80\x3f\x00\x00\x00\x40", 27);
  EXPECT_EQ(codebook_fingerprint(codes, false), sha256(bytes.data(), bytes.size()));
}

TEST(CodebookFingerprint, NormalizedCodesOfAnyLengthAreTheSame) {
  const at::Tensor codes = tests::random_tensor(1, {8, 4});
  const at::Tensor longer = codes.mul(4.0);
  EXPECT_EQ(codebook_fingerprint(codes, true), codebook_fingerprint(longer, true));
  EXPECT_NE(codebook_fingerprint(codes, false), codebook_fingerprint(longer, false));
  EXPECT_EQ(codebook_fingerprint(at::zeros({2, 3}), true),
            codebook_fingerprint(at::zeros({2, 3}), false));
}

TEST(CodebookFingerprint, ChangesWithOneValueTheOrderAndTheShape) {
  const at::Tensor codes = tests::random_tensor(1, {8, 4});
  const std::string first = codebook_fingerprint(codes, true);
  at::Tensor other = codes.clone();
  other[7][3].add_(1e-3);
  EXPECT_NE(codebook_fingerprint(other, true), first);
  EXPECT_NE(codebook_fingerprint(codes.flip({0}), true), first);
  EXPECT_NE(codebook_fingerprint(codes.view({4, 8}), false), codebook_fingerprint(codes, false));
  EXPECT_EQ(codebook_fingerprint(codes.t().contiguous().t(), true),
            first);  // strides do not matter
}

TEST(CodebookFingerprint, RefusesWhatIsNoCodebook) {
  tests::expect_error(ErrorKind::kUsage, "expected (K, D) floats",
                      [] { codebook_fingerprint(at::zeros({3}), true); });
  tests::expect_error(ErrorKind::kUsage, "expected (K, D) floats", [] {
    codebook_fingerprint(at::zeros({3, 2}, at::kLong), true);
  });
}

}  // namespace
}  // namespace lexel
