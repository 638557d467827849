#include "autoregressive/parallel/mesh.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <atomic>
#include <cstdlib>
#include <gtest/gtest.h>
#include <numeric>
#include <thread>
#include <vector>

#include "tests/support/expect_error.h"
#include "tests/support/ranks.h"

namespace lexel::parallel {
namespace {

using tests::expect_error;
using tests::on_mesh;

at::Tensor whole(int64_t n) { return at::arange(n, at::kDouble); }

TEST(Mesh, ShapesAreReadInAFixedOrder) {
  EXPECT_EQ(to_text(parse_mesh("tensor=2,data=4")), "data=4,tensor=2");
  EXPECT_EQ(parse_mesh("tensor=2,data=4").size(), 8);
  EXPECT_EQ(parse_mesh("data=3").length("tensor"), 1);
  EXPECT_EQ(parse_mesh("").size(), 1);
}

TEST(Mesh, ErrorsNameTheAxis) {
  expect_error(ErrorKind::kUsage, "no axis \"rows\"", [] { parse_mesh("rows=2"); });
  expect_error(ErrorKind::kUsage, "axis tensor: expected a length", [] { parse_mesh("tensor=0"); });
  expect_error(ErrorKind::kUsage, "axis data: expected a length", [] { parse_mesh("data=two"); });
  expect_error(ErrorKind::kUsage, "axis data stands twice", [] { parse_mesh("data=2,data=2"); });
  expect_error(ErrorKind::kUsage, "axis tensor: more than",
               [] { parse_mesh("data=1048576,tensor=2"); });
  expect_error(ErrorKind::kUsage, "mesh data=2,tensor=2 has 4 ranks, but 1 process runs",
               [] { Mesh(World{}, parse_mesh("data=2,tensor=2"), at::kCPU); });
}

TEST(Mesh, AxesAreRowsAndColumnsOfRanks) {
  on_mesh("data=2,tensor=2", [](Mesh& mesh) {
    const int64_t rank = mesh.world().rank;
    EXPECT_EQ(mesh.coordinate("data"), rank / 2);
    EXPECT_EQ(mesh.coordinate("tensor"), rank % 2);
    EXPECT_EQ(mesh.along("tensor").members(),
              (std::vector<int64_t>{rank / 2 * 2, rank / 2 * 2 + 1}));
    EXPECT_EQ(mesh.along("data").members(), (std::vector<int64_t>{rank % 2, rank % 2 + 2}));
    EXPECT_EQ(mesh.along("pipeline").size(), 1);
    at::Tensor sum = at::full({1}, static_cast<double>(rank), at::kDouble);
    mesh.along("tensor").all_reduce(sum);
    EXPECT_EQ(sum.item<double>(), rank < 2 ? 1.0 : 5.0);
  });
}

TEST(Group, CollectivesGiveWhatTheirNamesSay) {
  for (const char* shape : {"tensor=2", "tensor=3", "tensor=4"}) {
    on_mesh(shape, [](Mesh& mesh) {
      Group& group = mesh.along("tensor");
      const int64_t n = group.size(), rank = group.rank();
      const double ranks = static_cast<double>(n * (n + 1) / 2);
      const at::Tensor part = whole(6).reshape({2, 3}) * static_cast<double>(rank + 1);

      at::Tensor sum = part.clone(), most = part.clone();
      group.all_reduce(sum);
      group.all_reduce(most, Reduce::kMax);
      EXPECT_TRUE(sum.equal(whole(6).reshape({2, 3}) * ranks));
      EXPECT_TRUE(most.equal(whole(6).reshape({2, 3}) * static_cast<double>(n)));

      for (const int64_t dim : {0, 1, -1}) {
        const at::Tensor gathered = group.all_gather(part, dim);
        EXPECT_EQ(gathered.size(dim), n * part.size(dim));
        for (int64_t r = 0; r < n; ++r)
          EXPECT_TRUE(gathered.narrow(dim, r * part.size(dim), part.size(dim))
                          .equal(whole(6).reshape({2, 3}) * static_cast<double>(r + 1)));
        const at::Tensor scattered = group.reduce_scatter(gathered, dim);
        EXPECT_TRUE(scattered.equal(part * static_cast<double>(n)));
      }

      const at::Tensor sent = whole(2 * n).reshape({n, 2}) + 100.0 * static_cast<double>(rank);
      const at::Tensor came = group.all_to_all(sent);
      for (int64_t r = 0; r < n; ++r)
        EXPECT_EQ(came[r][0].item<double>(), 100.0 * static_cast<double>(r) + 2.0 * rank);

      at::Tensor told = at::full({3}, rank, at::kLong);
      group.broadcast(told, 1);
      EXPECT_EQ(told[2].item<int64_t>(), 1);

      at::Tensor next = at::empty({1}, at::kDouble);
      const int64_t after = (rank + 1) % n, before = (rank + n - 1) % n;
      std::vector<Pending> sending;  // come in the order in which they are sent
      for (const double fraction : {0.0, 0.25, 0.5})
        sending.push_back(
            group.send(at::full({1}, static_cast<double>(rank) + fraction, at::kDouble), after));
      for (const double fraction : {0.0, 0.25, 0.5}) {
        group.receive(next, before).wait();
        EXPECT_EQ(next.item<double>(), static_cast<double>(before) + fraction);
      }
      std::atomic<int> done = 0;
      for (Pending& one : sending) {
        one.then([&done] { ++done; });
        one.wait();
      }
      while (done < 3) std::this_thread::yield();
    });
  }
}

TEST(Group, CountsTheBytesThatLeaveARankInARing) {
  on_mesh("data=4", [](Mesh& mesh) {
    Group& group = mesh.along("data");
    group.forget_traffic();
    at::Tensor x = at::full({8, 6}, 1.0, at::kFloat);  // B = 192 bytes
    group.all_reduce(x);
    group.all_gather(x, 0);
    group.reduce_scatter(x, 0);
    group.all_to_all(x);
    const auto& counts = group.traffic().by_collective;
    EXPECT_EQ(counts.at("all_reduce").bytes, 2 * 3 * 192 / 4);
    EXPECT_EQ(counts.at("all_gather").bytes, 3 * 192);
    EXPECT_EQ(counts.at("reduce_scatter").bytes, 3 * 192 / 4);
    EXPECT_EQ(counts.at("all_to_all").bytes, 3 * 192 / 4);
    EXPECT_EQ(group.traffic().bytes(), 288 + 576 + 144 + 144);
  });
}

TEST(Group, AMeshOfOneSendsNothing) {
  Mesh mesh(World{}, parse_mesh("data=1,tensor=1"), at::kCPU);
  at::Tensor x = whole(4);
  mesh.along("tensor").all_reduce(x);
  EXPECT_TRUE(mesh.along("tensor").all_gather(x, 0).equal(whole(4)));
  EXPECT_TRUE(mesh.along("data").reduce_scatter(x, 0).equal(whole(4)));
  EXPECT_EQ(mesh.along("tensor").traffic().bytes(), 0);
}

TEST(World, RanksThatDifferAreNamedOnAllOfThem) {
  std::atomic<int> caught = 0;
  on_mesh("data=3", [&](Mesh& mesh) {
    check_same_everywhere(mesh.world(), "recipe", "a");
    try {
      check_same_everywhere(mesh.world(), "recipe", mesh.world().rank == 2 ? "b" : "a");
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUsage);
      EXPECT_STREQ(error.what(), "all ranks must have the same recipe: rank 0 has a, rank 2 has b");
      ++caught;
    }
  });
  EXPECT_EQ(caught, 3);
}

TEST(World, ARankThatDoesNotComeIsNamed) {
  const auto worlds = worlds_of_threads(2, std::chrono::milliseconds(300));
  expect_error(ErrorKind::kIo, "rank 0, start: rank 1 did not come within 0.3 s",
               [&] { exchange(worlds[0], "start", ""); });
}

TEST(World, EnvironmentsOfLaunchersAreUnderstood) {
  const auto with = [](const std::vector<std::pair<const char*, const char*>>& variables,
                       const std::function<void()>& body) {
    for (const auto& [name, value] : variables) setenv(name, value, 1);
    body();
    for (const auto& [name, value] : variables) unsetenv(name);
  };
  const std::chrono::milliseconds timeout(2000);
  EXPECT_EQ(world_from_environment(timeout).size, 1);
  with({{"RANK", "0"}, {"WORLD_SIZE", "1"}},
       [&] { EXPECT_EQ(world_from_environment(timeout).launcher, "torchrun"); });
  with({{"RANK", "2"}, {"WORLD_SIZE", "2"}}, [&] {
    expect_error(ErrorKind::kUsage, "RANK: expected 0 to 1, got \"2\"",
                 [&] { world_from_environment(timeout); });
  });
  with({{"RANK", "1"}, {"WORLD_SIZE", "2"}}, [&] {
    expect_error(ErrorKind::kUsage, "MASTER_PORT is not set",
                 [&] { world_from_environment(timeout); });
  });
  with({{"OMPI_COMM_WORLD_RANK", "0"},
        {"OMPI_COMM_WORLD_SIZE", "4"},
        {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}},
       [&] {
         expect_error(ErrorKind::kUsage, "-x MASTER_ADDR",
                      [&] { world_from_environment(timeout); });
       });
  with({{"SLURM_PROCID", "0"}, {"SLURM_STEP_NUM_TASKS", "1"}},
       [&] { EXPECT_EQ(world_from_environment(timeout).launcher, "srun"); });
  // The second of four tasks, on the second and third node of a job's three: two share a node's four cores.
  const char* const set = std::getenv("OMP_NUM_THREADS");
  const std::string kept = set == nullptr ? "" : set;
  unsetenv("OMP_NUM_THREADS");
  at::set_num_threads(4);
  with({{"SLURM_PROCID", "1"},
        {"SLURM_STEP_NUM_TASKS", "4"},
        {"SLURM_STEP_NUM_NODES", "2"},
        {"SLURM_CPUS_ON_NODE", "4"},
        {"SLURM_JOB_ID", "7"},
        {"SLURM_STEP_ID", "0"},
        {"MASTER_PORT", "9"},
        {"SLURM_JOB_NODELIST", "127.0.0.[1-3]"},
        {"SLURM_STEP_NODELIST", "127.0.0.[2-3]"}},
       [&] {
         expect_error(ErrorKind::kIo, "rank 1: no meeting place at 127.0.0.2:9",
                      [&] { world_from_environment(std::chrono::milliseconds(300)); });
       });
  EXPECT_EQ(at::get_num_threads(), 2);
  at::set_num_threads(1);
  if (!kept.empty()) setenv("OMP_NUM_THREADS", kept.c_str(), 1);
}

}  // namespace
}  // namespace lexel::parallel
