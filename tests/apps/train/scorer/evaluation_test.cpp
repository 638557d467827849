#include "apps/train/scorer/evaluation.h"

#include <ATen/ops/eye.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "tests/support/expect_error.h"

namespace lexel::train {
namespace {

std::vector<Content> different(int64_t count) {
  std::vector<Content> contents;
  for (int64_t k = 0; k < count; ++k) contents.push_back({std::to_string(k), ""});
  return contents;
}

TEST(Recall, CountsCaptionsThatFindTheirPicture) {
  EXPECT_EQ(recall(at::eye(40), different(40), 16, 1).right, 40);
  EXPECT_EQ(recall(at::eye(40), different(40), 16, 1).of, 40);
  EXPECT_EQ(recall(at::zeros({40, 40}), different(40), 16, 1).right, 0);  // a tie is wrong
  EXPECT_EQ(recall(-at::eye(40), different(40), 16, 1).right, 0);
}

TEST(Recall, WhatTheCaptionCouldBeTrueOfIsNoDistractor) {
  std::vector<Content> contents = different(4);
  contents[1] = contents[0];
  at::Tensor cosines = at::eye(4);
  cosines[0][1] = 2.0;
  EXPECT_EQ(recall(cosines, contents, 16, 1).right, 4);
  contents[1] = {"else", ""};
  EXPECT_EQ(recall(cosines, contents, 16, 1).right, 3);
}

TEST(Recall, RefusesAnotherShape) {
  tests::expect_error(ErrorKind::kUsage, "expected (3, 3) cosines",
                      [] { recall(at::eye(4), different(3), 16, 1); });
}

TEST(ToldApart, CountsByWhatWasChanged) {
  HeldOutScenes scenes;
  scenes.changed.resize(2);
  scenes.changed[0] = {{Change::kThing, {}, "a"}, {Change::kCount, {}, "b"}};
  scenes.changed[1] = {{Change::kThing, {}, "c"}};
  const auto shares = told_apart(at::tensor({0.5f, 0.1f}), at::tensor({0.4f, 0.6f, 0.2f}), scenes);
  EXPECT_EQ(shares.at(Change::kThing).right, 1);
  EXPECT_EQ(shares.at(Change::kThing).of, 2);
  EXPECT_EQ(shares.at(Change::kCount).right, 0);
  EXPECT_EQ(shares.count(Change::kRelation), 0U);
}

TEST(Share, WilsonsInterval) {
  // The formula in Python 3.11.
  const Share share{45, 50};
  EXPECT_NEAR(share.low(), 0.7864, 1e-4);
  EXPECT_NEAR(share.high(), 0.9565, 1e-4);
  EXPECT_NEAR((Share{0, 10}.low()), 0.0, 1e-9);
  EXPECT_NEAR((Share{10, 10}.high()), 1.0, 1e-9);
}

}  // namespace
}  // namespace lexel::train
