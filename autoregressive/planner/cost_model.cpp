#include "autoregressive/planner/cost_model.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "kernels/check.h"

namespace lexel::planner {
namespace {

/// Shares of B that a device's link carries, and Alpa's constant.
struct Price {
  double share, constant;
};

Price price(Collective kind, double n) {
  switch (kind) {
    case Collective::kAllGather:
      return {(n - 1) / n, 0.1};
    case Collective::kAllReduce:
      return {2 * (n - 1) / n, 0.01};
    case Collective::kReduceScatter:
      return {(n - 1) / n, 0.001};
    case Collective::kAllToAll:
      return {(n - 1) / n / n * (n / 2), 0.001};
  }
  fail(ErrorKind::kInternal, "a collective without a price");
}

int parts(const DeviceMesh& mesh, int axes) {
  int64_t count = 1;
  for (int axis = 0; axis < 2; ++axis)
    if (axes & (1 << axis)) count *= mesh.shape[static_cast<size_t>(axis)];
  return static_cast<int>(count);
}

int index_of(const Spec& spec) { return spec.rows * 4 + spec.columns; }

struct Move {
  Spec to;
  std::vector<Transfer> transfers;  // none for a cut
};

/// The last axis of a cut: 1 where there is one, since 01 is row after row.
int last_axis(int axes) { return axes & 2 ? 1 : 0; }

void add_moves(const DeviceMesh& mesh, const Spec& from, double bytes, bool rows,
               std::vector<Move>& moves) {
  const int own = rows ? from.rows : from.columns, other = rows ? from.columns : from.rows;
  const auto with = [rows](int mine, int theirs) {
    return rows ? Spec{mine, theirs} : Spec{theirs, mine};
  };
  const double cut = bytes / parts(mesh, from.rows | from.columns);
  for (int axis = 0; axis < 2; ++axis) {
    const int bit = 1 << axis;
    if (mesh.shape[static_cast<size_t>(axis)] == 1 || ((own | other) & bit)) continue;
    if (own > bit) continue;  // 1 before 0 is another order than 01
    moves.push_back({with(own | bit, other), {}});
  }
  if (own == 0) return;
  const int axis = last_axis(own), bit = 1 << axis;
  const double n = parts(mesh, bit);
  moves.push_back({with(own & ~bit, other), {{Collective::kAllGather, axis, cut * n}}});
  if (other > bit) return;
  moves.push_back({with(own & ~bit, other | bit), {{Collective::kAllToAll, axis, cut}}});
}

}  // namespace

double cost(const DeviceMesh& mesh, const Transfer& transfer) {
  const auto axis = static_cast<size_t>(transfer.axis);
  if (mesh.shape[axis] == 1) return 0;
  const Price p = price(transfer.kind, static_cast<double>(mesh.shape[axis]));
  const Link& link = mesh.links[axis];
  const double time = link.alpha + link.beta * p.share * transfer.bytes;
  return mesh.alpa_units ? std::floor(time) + p.constant : time;
}

double cost(const DeviceMesh& mesh, const std::vector<Transfer>& transfers) {
  double sum = 0;
  for (const Transfer& transfer : transfers) sum += cost(mesh, transfer);
  return sum;
}

void count_bytes(const DeviceMesh& mesh, const Transfer& transfer, double times,
                 std::map<std::string, double>& bytes) {
  const auto n = static_cast<double>(mesh.shape[static_cast<size_t>(transfer.axis)]);
  if (n == 1) return;
  static const char* const names[] = {"all_gather", "all_reduce", "reduce_scatter", "all_to_all"};
  const double rounds = transfer.kind == Collective::kAllReduce ? 2 : 1;
  bytes[names[static_cast<int>(transfer.kind)]] += times * rounds * (n - 1) / n * transfer.bytes;
}

std::string to_text(const Spec& spec) {
  const auto dimension = [](int axes) {
    return std::string(axes == 0 ? "R" : axes == 1 ? "S0" : axes == 2 ? "S1" : "S01");
  };
  return dimension(spec.rows) + dimension(spec.columns);
}

std::vector<Spec> all_specs(const DeviceMesh& mesh) {
  const int usable = (mesh.shape[0] > 1 ? 1 : 0) | (mesh.shape[1] > 1 ? 2 : 0);
  std::vector<Spec> specs;
  for (int rows = 0; rows < 4; ++rows)
    for (int columns = 0; columns < 4; ++columns)
      if (!(rows & columns) && !((rows | columns) & ~usable)) specs.push_back({rows, columns});
  return specs;
}

std::vector<Transfer> reshard(const DeviceMesh& mesh, const Spec& from, const Spec& to,
                              double bytes) {
  // Over at most nine layouts the path with the fewest transfers, then the cheapest: what Alpa's table has in one step stays one.
  struct Reached {
    std::pair<size_t, double> cost = {std::numeric_limits<size_t>::max(), 0.0};
    std::vector<Transfer> transfers;
    Spec spec;
    bool done = false;
  };
  std::array<Reached, 16> reached;
  reached[static_cast<size_t>(index_of(from))] = {{0, 0.0}, {}, from, false};
  for (;;) {
    Reached* next = nullptr;
    for (Reached& candidate : reached)
      if (!candidate.done && candidate.cost < (next ? next->cost : Reached().cost))
        next = &candidate;
    if (!next)
      fail(ErrorKind::kInternal, "reshard: no way from ", to_text(from), " to ", to_text(to));
    if (next->spec == to) return next->transfers;
    next->done = true;
    std::vector<Move> moves;
    add_moves(mesh, next->spec, bytes, true, moves);
    add_moves(mesh, next->spec, bytes, false, moves);
    for (const Move& move : moves) {
      Reached& target = reached[static_cast<size_t>(index_of(move.to))];
      const std::pair reach(next->cost.first + move.transfers.size(),
                            next->cost.second + cost(mesh, move.transfers));
      if (reach >= target.cost) continue;
      target = {reach, next->transfers, move.to, false};
      target.transfers.insert(target.transfers.end(), move.transfers.begin(), move.transfers.end());
    }
  }
}

double group_seconds(const Machine& machine, const Link& link, const GroupCall& call,
                     int64_t ranks) {
  const bool gloo = machine.transport == Transport::kGloo;
  const double own = call.whole / static_cast<double>(ranks);
  double sent = call.sent, copied = 0;
  if (call.collective == "all_reduce") {
    copied = call.in_rows ? 0 : call.whole;
  } else if (call.collective == "all_gather") {
    copied = (call.in_rows ? 0 : call.whole) + (gloo ? call.whole : 0);
  } else if (call.collective == "reduce_scatter") {
    copied = (call.in_rows ? 0 : call.whole) + (gloo ? call.whole + own : 0);
    if (gloo) sent *= 2;
  } else if (call.collective == "all_to_all") {
    copied = call.whole;
  }
  return link.alpha + link.beta * sent + 2 * copied / machine.memory_bandwidth;
}

const Link& link_of(const Machine& machine, int64_t stride, int64_t length) {
  return stride * length <= machine.devices_per_node ? machine.inside : machine.between;
}

Machine h100() { return {}; }

}  // namespace lexel::planner
