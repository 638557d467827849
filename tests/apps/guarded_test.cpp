#include "apps/guarded.h"

#include <ATen/ops/empty.h>
#include <gtest/gtest.h>
#include <iostream>
#include <new>
#include <sstream>
#include <stdexcept>

#include "kernels/check.h"

namespace lexel::cli {
namespace {

struct Outcome {
  int exit_code;
  std::string said;
};

Outcome outcome_of(const std::function<int()>& work) {
  std::ostringstream said;
  std::streambuf* const before = std::cerr.rdbuf(said.rdbuf());
  const int exit_code = guarded("prog", work);
  std::cerr.rdbuf(before);
  return {exit_code, said.str()};
}

TEST(Guarded, WhatWorksIsLeftAlone) {
  const Outcome done = outcome_of([] { return 7; });
  EXPECT_EQ(done.exit_code, 7);
  EXPECT_EQ(done.said, "");
}

TEST(Guarded, AnErrorIsOneLineAndItsKind) {
  const Outcome refused = outcome_of([]() -> int { fail(ErrorKind::kBadData, "a.png: no"); });
  EXPECT_EQ(refused.exit_code, 3);
  EXPECT_EQ(refused.said, "prog: a.png: no\n");
}

TEST(Guarded, MemoryThatIsNotThereIsSaidWhoeverAskedForIt) {
  const Outcome ours = outcome_of([]() -> int { throw std::bad_alloc(); });
  EXPECT_EQ(ours.exit_code, 5);
  EXPECT_EQ(ours.said.find("prog: not enough memory; less at once may fit"), 0U) << ours.said;
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer ends a program that asks for so much";
#endif
  // LibTorch's own: more bytes than a process can address.
  const Outcome torch = outcome_of(
      [] { return static_cast<int>(at::empty({int64_t{1} << 47}, at::kFloat).numel()); });
  EXPECT_EQ(torch.exit_code, 5);
  EXPECT_EQ(torch.said, ours.said);
}

TEST(Guarded, AnythingElseIsInternalAndOneLine) {
  const Outcome broken =
      outcome_of([]() -> int { throw std::runtime_error("first\nsecond\nthird"); });
  EXPECT_EQ(broken.exit_code, 1);
  EXPECT_EQ(broken.said, "prog: internal error: first\n");
}

}  // namespace
}  // namespace lexel::cli
