#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "autoregressive/parallel/world.h"

namespace lexel::parallel {

/// What this rank sent, by collective. Bytes are those that leave a rank in a ring: n ranks, B bytes of the whole tensor:
/// all_gather and reduce_scatter (n - 1) / n B, all_reduce twice that, all_to_all (n - 1) / n B, broadcast and send B.
struct Traffic {
  struct Count {
    int64_t calls = 0;
    int64_t bytes = 0;
  };
  std::map<std::string, Count> by_collective;  // "all_reduce", "all_gather", ...
  int64_t bytes() const;                       // of all
};

/// A collective under way. wait() before its tensors are touched; the destructor does not wait.
class Pending {
 public:
  Pending() = default;  // done
  struct Work;          // with the tensors that it reads and writes
  explicit Pending(std::shared_ptr<Work> work) : work_(std::move(work)) {}
  /// throws   Error(kIo) naming axis, rank and collective when another rank died, timed out or threw
  void wait();
  /// Calls `tell` once when it is done, from any thread, on a GPU with a current stream on which what comes next comes after it.
  void then(std::function<void()> tell);

 private:
  std::shared_ptr<Work> work_;
};

enum class Reduce { kSum, kMax, kMin };

/// The ranks along one axis of a mesh. Calls must come in the same order on all of them. A group of one does nothing and
/// sends nothing. Tensors are contiguous; float32, float64, bfloat16 or int64. No gradient: see differentiable.h.
///
/// throws   every call: Error naming axis, rank and collective, of kIo when another rank died or timed out, of that rank's kind when
///          it threw
class Group {
 public:
  /// A group of one.
  explicit Group(std::string axis = "");
  /// The ranks `members` of the world, this one among them. `name` is unique to these members.
  Group(const World& world, std::string axis, const std::string& name,
        const std::vector<int64_t>& members, at::Device device);

  int64_t rank() const { return rank_; }  // among the members
  int64_t size() const { return size_; }
  bool alone() const { return !state_; }         // nothing is ever sent
  at::Device device() const { return device_; }  // of its tensors
  const std::string& axis() const { return axis_; }
  const std::vector<int64_t>& members() const { return members_; }  // ranks of the world

  void all_reduce(at::Tensor& x, Reduce reduce = Reduce::kSum);  // in place
  at::Tensor all_gather(const at::Tensor& x, int64_t dim);  // parts behind each other along dim
  /// The sum's part `rank()` along dim, whose size divides by size().
  at::Tensor reduce_scatter(const at::Tensor& x, int64_t dim);
  /// Part j along dim 0 goes to rank j; returns what came, in the order of ranks. Sizes divide evenly.
  at::Tensor all_to_all(const at::Tensor& x);
  void broadcast(at::Tensor& x, int64_t from);  // in place
  void barrier();

  /// The same, under way: `out` is (size() * n) of `in` (n), or the other way round, both one-dimensional.
  Pending all_gather_async(at::Tensor& out, const at::Tensor& in);
  Pending reduce_scatter_async(at::Tensor& out, const at::Tensor& in);
  Pending all_reduce_async(at::Tensor& x, Reduce reduce = Reduce::kSum);
  /// Messages from one rank to another come in the order in which they are sent.
  Pending send(const at::Tensor& x, int64_t to);
  Pending receive(at::Tensor& x, int64_t from);
  /// Before messages to and from `other`: both call it, and all ranks come to their pairs in one order of all pairs, since NCCL
  /// holds whoever comes first. Nothing is counted.
  void connect(int64_t other);

  const Traffic& traffic() const;
  void forget_traffic();

 private:
  struct State;  // shared by copies
  friend class Pending;
  template <class Start>
  Pending start(const char* collective, int64_t bytes, std::vector<at::Tensor> kept,
                Start&& start) const;

  std::string axis_;
  at::Device device_ = at::kCPU;
  int64_t rank_ = 0, size_ = 1;
  std::vector<int64_t> members_{0};
  std::shared_ptr<State> state_;
};

}  // namespace lexel::parallel
