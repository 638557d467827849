#include "autoregressive/planner/cost_model.h"

#include <gtest/gtest.h>

namespace lexel::planner {
namespace {

const DeviceMesh kMesh{{4, 8}, {Link{1, 1}, Link{1, 0.01}}, true};

TEST(CostModel, CollectivesCostWhatAlpaSays) {
  // int(1 + 3/4 65536) + 0.1, int(1 + 2 3/4 65536) + 0.01, int(1 + 3/4 65536) + 0.001, int(1 + 3/16 65536 2) + 0.001
  EXPECT_DOUBLE_EQ(cost(kMesh, Transfer{Collective::kAllGather, 0, 65536}), 49153.1);
  EXPECT_DOUBLE_EQ(cost(kMesh, Transfer{Collective::kAllReduce, 0, 65536}), 98305.01);
  EXPECT_DOUBLE_EQ(cost(kMesh, Transfer{Collective::kReduceScatter, 0, 65536}), 49153.001);
  EXPECT_DOUBLE_EQ(cost(kMesh, Transfer{Collective::kAllToAll, 0, 65536}), 24577.001);
  DeviceMesh seconds = kMesh;
  seconds.alpa_units = false;
  EXPECT_DOUBLE_EQ(cost(seconds, Transfer{Collective::kAllReduce, 1, 65536}), 1 + 0.02 * 57344);
  seconds.shape = {1, 8};
  EXPECT_EQ(cost(seconds, Transfer{Collective::kAllReduce, 0, 65536}), 0);
}

TEST(CostModel, ReshardingIsAlpasTable) {
  const double m = 65536;
  const auto one = [](Collective kind, int axis, double bytes) {
    return std::vector<Transfer>{{kind, axis, bytes}};
  };
  for (const Spec& to : all_specs(kMesh)) EXPECT_TRUE(reshard(kMesh, {0, 0}, to, m).empty());
  EXPECT_EQ(reshard(kMesh, {1, 0}, {0, 0}, m), one(Collective::kAllGather, 0, m));
  EXPECT_EQ(reshard(kMesh, {1, 2}, {1, 0}, m), one(Collective::kAllGather, 1, m / 4));
  EXPECT_EQ(reshard(kMesh, {1, 0}, {0, 1}, m), one(Collective::kAllToAll, 0, m / 4));
  EXPECT_EQ(reshard(kMesh, {1, 2}, {3, 0}, m), one(Collective::kAllToAll, 1, m / 32));
  EXPECT_TRUE(reshard(kMesh, {1, 0}, {3, 0}, m).empty());
  EXPECT_TRUE(reshard(kMesh, {1, 0}, {1, 2}, m).empty());
}

TEST(CostModel, EveryLayoutReachesEveryOther) {
  const auto specs = all_specs(kMesh);
  EXPECT_EQ(specs.size(), 9u);
  for (const Spec& from : specs) {
    EXPECT_TRUE(reshard(kMesh, from, from, 64).empty()) << to_text(from);
    for (const Spec& to : specs) {
      // Never more than to gather all and cut anew.
      EXPECT_LE(reshard(kMesh, from, to, 64).size(), reshard(kMesh, from, {0, 0}, 64).size())
          << to_text(from) << " -> " << to_text(to);
    }
  }
}

TEST(CostModel, AxesOfOneDeviceCutNothing) {
  EXPECT_EQ(all_specs(DeviceMesh{{1, 8}, {}, false}).size(), 3u);
  EXPECT_EQ(all_specs(DeviceMesh{}).size(), 1u);
}

TEST(CostModel, BytesAreThoseThatLeaveARankInARing) {
  std::map<std::string, double> bytes;
  count_bytes(kMesh, {Collective::kAllReduce, 0, 400}, 2, bytes);
  count_bytes(kMesh, {Collective::kAllGather, 1, 800}, 1, bytes);
  EXPECT_EQ(bytes, (std::map<std::string, double>{{"all_gather", 700}, {"all_reduce", 1200}}));
}

TEST(CostModel, CallsOfAGroupCostTheirMessagesAndTheirCopies) {
  Machine machine;
  machine.memory_bandwidth = 1e9;
  const Link link{1e-3, 1e-8};
  const auto seconds = [&](const char* name, double sent, bool in_rows) {
    return group_seconds(machine, link, {name, sent, 4e6, in_rows}, 4);
  };
  const double copy = 2 * 4e6 / 1e9;
  EXPECT_DOUBLE_EQ(seconds("all_reduce", 6e6, true), 1e-3 + 0.06);
  EXPECT_DOUBLE_EQ(seconds("all_reduce", 6e6, false), 1e-3 + 0.06 + copy);
  EXPECT_DOUBLE_EQ(seconds("all_gather", 3e6, true), 1e-3 + 0.03);
  EXPECT_DOUBLE_EQ(seconds("all_gather", 3e6, false), 1e-3 + 0.03 + copy);
  EXPECT_DOUBLE_EQ(seconds("reduce_scatter", 3e6, false), 1e-3 + 0.03 + copy);
  EXPECT_DOUBLE_EQ(seconds("all_to_all", 3e6, false), 1e-3 + 0.03 + copy);
  machine.transport = Transport::kGloo;  // an all-reduce of a copy, of which a quarter is kept
  EXPECT_DOUBLE_EQ(seconds("reduce_scatter", 3e6, true),
                   seconds("all_reduce", 6e6, false) + copy / 4);
  EXPECT_DOUBLE_EQ(seconds("all_gather", 3e6, true), 1e-3 + 0.03 + copy);
}

TEST(CostModel, GroupsWithinANodeHaveTheFastLink) {
  const Machine machine = h100();
  EXPECT_EQ(link_of(machine, 1, 8).beta, machine.inside.beta);
  EXPECT_EQ(link_of(machine, 2, 4).beta, machine.inside.beta);
  EXPECT_EQ(link_of(machine, 2, 8).beta, machine.between.beta);
  EXPECT_EQ(link_of(machine, 8, 2).beta, machine.between.beta);
}

}  // namespace
}  // namespace lexel::planner
