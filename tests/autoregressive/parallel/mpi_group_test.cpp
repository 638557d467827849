#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include "autoregressive/parallel/mesh.h"
#include "tests/support/random_tensor.h"

// Open MPI and Gloo as each other's oracle: every rank of mpirun runs these tests.

namespace lexel::parallel {
namespace {

struct Both {
  World world = world_from_environment(std::chrono::seconds(60));
  MeshShape shape = parse_mesh(world.size == 4 ? "data=2,tensor=2" : "data=2");
  Mesh gloo{world, shape, at::kCPU};
  Mesh mpi{over_mpi(world), shape, at::kCPU};
  static World over_mpi(World world) {
    world.transport = "mpi";
    return world;
  }
};
Both& both() {
  static Both* const meshes = new Both;  // groups outlive the tests
  return *meshes;
}

TEST(MpiGroup, CollectivesEqualGloos) {
  for (const auto& [axis, length] : both().shape.axes) {
    Group &one = both().gloo.along(axis), &other = both().mpi.along(axis);
    for (const at::ScalarType type : {at::kFloat, at::kDouble, at::kBFloat16, at::kLong}) {
      for (const int64_t n : {1, 7, 1024}) {
        const uint64_t seed = static_cast<uint64_t>(both().world.rank + 10 * n);
        const at::Tensor x = (tests::random_tensor(seed, {2 * n, 3}) * 8.0).to(type);
        for (const Reduce reduce : {Reduce::kSum, Reduce::kMax, Reduce::kMin}) {
          at::Tensor a = x.clone(), b = x.clone();
          one.all_reduce(a, reduce);
          other.all_reduce(b, reduce);
          EXPECT_TRUE(a.allclose(b, 1e-2, 1e-5)) << axis << ' ' << type << ' ' << n;
        }
        EXPECT_TRUE(one.all_gather(x, 1).equal(other.all_gather(x, 1)));
        EXPECT_TRUE(one.reduce_scatter(x, 0).allclose(other.reduce_scatter(x, 0), 1e-2, 1e-5));
        EXPECT_TRUE(one.all_to_all(x).equal(other.all_to_all(x)));
        at::Tensor a = x.clone(), b = x.clone();
        one.broadcast(a, 1);
        other.broadcast(b, 1);
        EXPECT_TRUE(a.equal(b));
      }
    }
  }
}

TEST(MpiGroup, MessagesComeInTheOrderInWhichTheyAreSent) {
  Group& group = both().mpi.along("data");
  const int64_t peer = 1 - group.rank();
  const at::Tensor one = at::full({3}, 1.0 + static_cast<double>(group.rank()), at::kDouble);
  Pending first = group.send(one, peer), second = group.send(one * 10.0, peer);
  at::Tensor tens = at::empty({3}, at::kDouble), ones = at::empty({3}, at::kDouble);
  Pending of_ones = group.receive(ones, peer), of_tens = group.receive(tens, peer);
  bool told = false;
  of_tens.then([&told] { told = true; });
  of_tens.wait();
  EXPECT_TRUE(told);
  of_ones.wait();
  first.wait();
  second.wait();
  EXPECT_EQ(ones[0].item<double>(), 1.0 + static_cast<double>(peer));
  EXPECT_EQ(tens[0].item<double>(), 10.0 * (1.0 + static_cast<double>(peer)));
}

}  // namespace
}  // namespace lexel::parallel
