#include "apps/train/team.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <atomic>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <mutex>

#include "apps/train/batch_share.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"
#include "tests/support/ranks.h"

namespace lexel::train {
namespace {

using tests::expect_error;
using tests::on_mesh;

struct Weights {
  at::Tensor matrix = tests::random_tensor(1, {24, 10}), vector = tests::random_tensor(2, {13});
  ParameterList list = {{"matrix", {24, 10}, Init::zeros(), &matrix},
                        {"vector", {13}, Init::zeros(), &vector, "", /*decay=*/false}};
  Weights() { require_gradients(list, true); }
  /// Passes of a step as BatchShare deals them; the loss is quadratic around a target of the pass.
  void gradients(const BatchShare& share, int64_t step, Optimizer& optimizer) const {
    optimizer.zero_gradients();
    for (int64_t part = 0; part < share.parts(); ++part) {
      const int64_t number = share.number(step * share.parts() + part);
      const at::Tensor target = tests::random_tensor(100 + number, {24, 10});
      if (part + 1 == share.parts()) optimizer.overlap_next_backward();
      (((matrix - target) * (matrix - target)).sum() / double(share.parts()) +
       vector.sum() * double(number) / double(share.parts()))
          .backward();
    }
  }
};

TEST(BatchShare, RanksTakeTheNumbersOfOne) {
  for (const int64_t ranks : {1, 2, 3, 6}) {
    std::vector<int> taken(30, 0);
    for (int64_t rank = 0; rank < ranks; ++rank) {
      const BatchShare share = batch_share(6, ranks, rank);
      for (int64_t k = 0; k < 5 * share.parts(); ++k) {
        ++taken[size_t(share.number(k))];
        EXPECT_EQ(share.index(share.number(k)), k);
        EXPECT_EQ(share.number(k) / 6, k / share.parts());  // the step
      }
    }
    EXPECT_EQ(taken, std::vector<int>(30, 1));
  }
  expect_error(ErrorKind::kUsage, "axis data: 1 pass a step cannot be shared by 2 ranks",
               [] { batch_share(1, 2, 0); });
}

TEST(Team, AnyNumberOfRanksMakesTheStepsOfOneAndHoldsItsPartOfTheMoments) {
  for (const Method method : {Method::kAdamW, Method::kAdafactor, Method::kAdafactorInt8}) {
    const OptimizerOptions options{.epsilon = method == Method::kAdamW ? 1e-8 : 1e-30,
                                   .weight_decay = 0.1,
                                   .clip_norm = 1.0,
                                   .average = 0.9,
                                   .method = method};
    Weights one;
    Optimizer alone(one.list, options);
    std::vector<double> norms;
    for (int64_t step = 0; step < 5; ++step) {
      one.gradients(batch_share(4, 1, 0), step, alone);
      norms.push_back(alone.step(0.01, {}));
    }
    alone.swap_averages();
    for (const int64_t ranks : {2, 4}) {
      std::atomic<int64_t> moments = 0;
      on_mesh(concat("data=", ranks), [&](parallel::Mesh& mesh) {
        Weights own;
        Optimizer optimizer(own.list, options, mesh.along("data"), norm_over(mesh));
        const BatchShare share = batch_share(4, ranks, mesh.coordinate("data"));
        for (int64_t step = 0; step < 5; ++step) {
          own.gradients(share, step, optimizer);
          EXPECT_NEAR(optimizer.step(0.01, {}), norms[size_t(step)], 1e-4 * norms[size_t(step)]);
        }
        optimizer.swap_averages();
        EXPECT_TRUE(own.matrix.allclose(one.matrix, 1e-4, 1e-5));
        EXPECT_TRUE(own.vector.allclose(one.vector, 1e-4, 1e-5));
        for (const StatePiece& piece : optimizer.state())
          if (piece.name.rfind("first/", 0) == 0) moments += piece.tensor.numel();
        if (method == Method::kAdamW) {
          int64_t held = 0;
          for (const StatePiece& piece : optimizer.state())
            if (piece.name.rfind("second/", 0) == 0) held += piece.tensor.numel();
          EXPECT_LE(held, (253 + ranks - 1) / ranks);
        }
      });
      EXPECT_EQ(moments, 253);
    }
  }
}

TEST(Team, AGradientThatIsNotFiniteOnOneRankStopsAllAndNamesIt) {
  std::atomic<int> stopped = 0;
  on_mesh("data=3", [&](parallel::Mesh& mesh) {
    Weights own;
    Optimizer optimizer(own.list, {}, mesh.along("data"), norm_over(mesh));
    const at::Tensor before = own.matrix.detach().clone();
    optimizer.zero_gradients();
    const double bad = mesh.world().rank == 2 ? std::numeric_limits<double>::quiet_NaN() : 1.0;
    (own.matrix.sum() + own.vector.sum() * bad).backward();
    try {
      optimizer.step(0.1, {});
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadData);
      EXPECT_NE(std::string(error.what()).find("the gradient of vector is not finite on rank 2"),
                std::string::npos)
          << error.what();
      ++stopped;
    }
    EXPECT_TRUE(own.matrix.detach().equal(before));
  });
  EXPECT_EQ(stopped, 3);
}

TEST(Team, RanksGoByTheClockOfTheFirst) {
  on_mesh("data=3", [](parallel::Mesh& mesh) {
    const int64_t rank = mesh.world().rank;
    Agreement all = agree(mesh, 10.0 + double(rank), false);
    EXPECT_EQ(all.elapsed_s, 10.0);
    EXPECT_FALSE(all.stop);
    all = agree(mesh, 1.0, rank == 2);
    EXPECT_TRUE(all.stop);
    std::vector<double> values{double(rank), 1.0};
    average_over(mesh, values);
    EXPECT_EQ(values, (std::vector<double>{1.0, 1.0}));
    std::map<std::string, double> terms{{"l2", 2.0 * double(rank)}, {"loss", 5.0}};
    average_over(mesh, terms);
    EXPECT_EQ(terms, (std::map<std::string, double>{{"l2", 2.0}, {"loss", 5.0}}));
  });
}

}  // namespace
}  // namespace lexel::train
