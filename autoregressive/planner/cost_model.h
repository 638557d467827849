#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace lexel::planner {

/// A message of B bytes takes alpha + beta B.
struct Link {
  double alpha = 0;  // s
  double beta = 0;   // s a byte
};

/// Devices in rows and columns; axis 0 runs from row to row, axis 1 within a row.
struct DeviceMesh {
  std::array<int64_t, 2> shape = {1, 1};
  std::array<Link, 2> links;
  // As Alpa's code prices: alpha + beta bytes cut to a whole number, and a small constant for each kind of collective, by which
  // its solver prefers one among equals. Its published objectives are in these units. Otherwise seconds.
  bool alpa_units = false;
};

enum class Collective { kAllGather, kAllReduce, kReduceScatter, kAllToAll };

/// One collective along one axis of a mesh. `bytes` as Alpa counts them: of the whole tensor of a group; of kAllToAll, what one device
/// holds times the group.
struct Transfer {
  Collective kind = Collective::kAllReduce;
  int axis = 0;
  double bytes = 0;
  bool operator==(const Transfer&) const = default;
};

/// Its cost on n devices; 0 where n is 1:
///   all-gather a + b (n-1)/n B      all-reduce a + 2 b (n-1)/n B      reduce-scatter a + b (n-1)/n B
///   all-to-all a + b (n-1)/n^2 B n/2
/// source   Zheng et al. 2022 (Alpa), arXiv:2201.12023, and its code's logical device mesh
double cost(const DeviceMesh& mesh, const Transfer& transfer);
double cost(const DeviceMesh& mesh, const std::vector<Transfer>& transfers);

/// Adds what one device sends, by the names of parallel::Traffic and in its way of counting.
void count_bytes(const DeviceMesh& mesh, const Transfer& transfer, double times,
                 std::map<std::string, double>& bytes);

/// How a matrix (rows, columns) lies on a mesh: each dimension whole (0), or cut along axis 0 (1), axis 1 (2) or both (3); no axis
/// cuts both dimensions. Alpa writes S0R for {1, 0}.
struct Spec {
  int rows = 0, columns = 0;
  bool operator==(const Spec&) const = default;
};

std::string to_text(const Spec& spec);  // "S0R", "RS01", ...

/// All layouts that cut along axes of more than one device only.
std::vector<Spec> all_specs(const DeviceMesh& mesh);

/// The way with the fewest transfers, then the cheapest, from one layout to another of a matrix of `bytes` in all: dimensions that
/// are whole are cut for nothing, cut ones gathered, or exchanged for the other by an all-to-all; the last axis of two first:
///   S0R -> RR all-gather(M, 0)   S0S1 -> S0R all-gather(M / n0, 1)   S0R -> RS0 all-to-all(M / n0, 0)
///   S0S1 -> S01R all-to-all(M / (n0 n1), 1)
/// source   Alpa, table of resharding
std::vector<Transfer> reshard(const DeviceMesh& mesh, const Spec& from, const Spec& to,
                              double bytes);

/// How a library carries out what the executor's groups ask for.
enum class Transport {
  kRing,  // NCCL, MPI: reduce-scatter and all-gather send (n - 1) / n of the whole, an all-reduce twice that
  kGloo  // a reduce-scatter is an all-reduce of a copy, of which a part is kept; what is gathered is copied once more
};

/// What the devices and what joins them can do.
struct Machine {
  std::string name = "H100";
  double memory_bytes = 80e9;        // of one device
  double flops = 395e12;             // a second, that a training's matrix products reach on one
  double memory_bandwidth = 3.0e12;  // bytes a second, of one
  int64_t devices_per_node = 8;      // that the fast link joins
  Link inside{10e-6, 1.0 / 360e9};   // between devices of a node
  Link between{20e-6, 1.0 / 40e9};   // between nodes, for each device
  double overlap = 0.9;  // share of the gradients' exchange that can hide behind the backward pass
  Transport transport = Transport::kRing;
};

/// A call of one of the executor's collectives (parallel::Group) on tensors of pictures.
struct GroupCall {
  std::string collective;  // by the names of parallel::Traffic
  double sent = 0;         // bytes that leave a rank in a ring
  double whole = 0;        // bytes of the whole tensor; of all_to_all, of what one rank holds
  bool in_rows = false;    // parts lie behind each other: nothing is put together or taken apart
};

/// Its time: alpha + beta times what is sent, and each byte that is copied there and back over the memory's bandwidth. The executor
/// copies what it reduces (a gradient may have other readers), puts gathered parts together along their dimension, takes apart
/// what it scatters, and puts experts' rows into order.
///
/// ranks   n >= 2
double group_seconds(const Machine& machine, const Link& link, const GroupCall& call,
                     int64_t ranks);

/// The link of a group whose neighbours are `stride` ranks apart.
const Link& link_of(const Machine& machine, int64_t stride, int64_t length);

/// H100 SXM 80 GB. Memory bandwidth measured; half of the 790 TFLOP/s of large bfloat16 products, which is what published trainings
/// reach; links assumed: 80 % of NVLink's 450 GB/s and of 400 Gb/s Ethernet or InfiniBand a device.
Machine h100();

}  // namespace lexel::planner
