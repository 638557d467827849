#include "autoregressive/parallel/group.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <algorithm>
#include <dlfcn.h>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <utility>

#include "autoregressive/parallel/meeting.h"
#include "autoregressive/parallel/mpi_backend.h"
#include "autoregressive/parallel/nccl_backend.h"
#include "kernels/check.h"

namespace lexel::parallel {

int64_t Traffic::bytes() const {
  int64_t sum = 0;
  for (const auto& [name, count] : by_collective) sum += count.bytes;
  return sum;
}

struct Group::State {
  c10::intrusive_ptr<c10d::Backend> backend;
  c10::intrusive_ptr<c10d::Backend> down;  // NCCL: messages to lower ranks, see message_way()
  std::shared_ptr<Meeting> meeting;
  std::vector<int64_t> members;  // ranks of the world
  std::string name;              // "axis tensor, rank 1 of 2"
  Traffic traffic;

  /// NCCL runs all messages between two ranks, whichever way they go, in one order on one stream: a message each way at once
  /// would have each rank wait for the other. So each way has a communicator of its own.
  c10d::Backend& message_way(int64_t from, int64_t to) const {
    return down && to < from ? *down : *backend;
  }
};

struct Pending::Work {
  c10::intrusive_ptr<c10d::Work> work;
  std::vector<at::Tensor> kept;
  std::shared_ptr<Group::State> group;
  std::string collective;
  std::function<void()> tell;  // once it has been waited for

  [[noreturn]] void failed(const std::exception& error) const {
    const std::string where = concat(group->name, ", ", collective);
    const Failure missing =
        group->meeting ? group->meeting->who_is_missing(where, group->members) : Failure();
    std::string why = error.what();
    why = why.substr(0, why.find('\n'));
    fail(missing.kind, where, ": ", missing.words.empty() ? why : missing.words);
  }
};

void Pending::wait() {
  if (!work_) return;
  const auto work = std::move(work_);
  work_.reset();
  try {
    work->work->wait();
  } catch (const std::exception& error) {
    work->failed(error);
  }
  if (work->tell) work->tell();
}

void Pending::then(std::function<void()> tell) {
  if (!work_) return tell();
  c10::intrusive_ptr<c10::ivalue::Future> future;
  try {
    future = work_->work->getFuture();
  } catch (const c10::Error&) {  // Open MPI's have none
  }
  if (!future) {
    work_->tell = std::move(tell);
    return;
  }
  future->addCallback([tell = std::move(tell)](c10::ivalue::Future&) { tell(); });
}

namespace {

c10::intrusive_ptr<c10d::Backend> gloo(const World& world, const std::string& name, int64_t rank,
                                       int64_t size) {
  auto options = c10d::ProcessGroupGloo::Options::create(world.timeout);
  options->devices = {c10d::ProcessGroupGloo::createDeviceForHostname(world.interface)};
  const auto store =
      c10::make_intrusive<c10d::PrefixStore>("group/" + name, world.meeting->store());
  return c10::make_intrusive<c10d::ProcessGroupGloo>(store, static_cast<int>(rank),
                                                     static_cast<int>(size), options);
}

/// NCCL's, out of the CUDA plugin. Also of one rank, so that a machine with one GPU takes this path.
c10::intrusive_ptr<c10d::Backend> nccl(const World& world, const std::string& name, int64_t rank,
                                       int64_t size) {
  const auto make =
      reinterpret_cast<decltype(&lexel_nccl_backend)>(dlsym(RTLD_DEFAULT, kNcclBackendSymbol));
  check(make != nullptr, ErrorKind::kUnsupported,
        "groups on GPUs: the CUDA plugin of this build has no NCCL");
  c10::intrusive_ptr<c10d::Store> meeting = c10::make_intrusive<c10d::HashStore>();
  if (world.meeting) meeting = world.meeting->store();
  const c10::intrusive_ptr<c10d::Store> store =
      c10::make_intrusive<c10d::PrefixStore>("group/" + name, meeting);
  return c10::intrusive_ptr<c10d::Backend>::reclaim(
      make(store.get(), static_cast<int>(rank), static_cast<int>(size), world.timeout.count()));
}

int64_t bytes_of(const at::Tensor& x) { return static_cast<int64_t>(x.nbytes()); }

void check_dense(const at::Tensor& x, const char* function) {
  check_arg(x.defined() && x.is_contiguous(), function, "expected a contiguous tensor");
}

}  // namespace

Group::Group(std::string axis) : axis_(std::move(axis)) {}

Group::Group(const World& world, std::string axis, const std::string& name,
             const std::vector<int64_t>& members, at::Device device)
    : axis_(std::move(axis)),
      device_(device),
      size_(static_cast<int64_t>(members.size())),
      members_(members) {
  const auto self = std::find(members.begin(), members.end(), world.rank);
  check_arg(self != members.end(), "Group", "rank ", world.rank, " is not one of the members");
  rank_ = self - members.begin();
  if (size_ == 1 && device.is_cpu()) return;
  state_ = std::make_shared<State>();
  state_->meeting = world.meeting;
  state_->members = members;
  state_->name = concat("axis ", axis_, ", rank ", world.rank);
  try {
    state_->backend = device.is_cpu() && world.transport == "mpi"
                          ? mpi_backend(world, members, rank_)
                      : device.is_cpu() ? gloo(world, name, rank_, size_)
                                        : nccl(world, name, rank_, size_);
    if (device.is_cuda() && size_ > 1) state_->down = nccl(world, name + "/down", rank_, size_);
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    Pending::Work{{}, {}, state_, "start of the group", {}}.failed(error);
  }
}

template <class Start>
Pending Group::start(const char* collective, int64_t bytes, std::vector<at::Tensor> kept,
                     Start&& start) const {
  auto work = std::make_shared<Pending::Work>();
  work->kept = std::move(kept);
  work->group = state_;
  work->collective = collective;
  Traffic::Count& count = state_->traffic.by_collective[collective];
  ++count.calls;
  count.bytes += bytes;
  try {
    work->work = start(*state_->backend, work->kept);
  } catch (const std::exception& error) {
    work->failed(error);
  }
  return Pending(std::move(work));
}

Pending Group::all_reduce_async(at::Tensor& x, Reduce reduce) {
  check_dense(x, "Group::all_reduce");
  if (!state_) return {};
  return start("all_reduce", 2 * (size_ - 1) * bytes_of(x) / size_, {x},
               [reduce](c10d::Backend& backend, std::vector<at::Tensor>& kept) {
                 c10d::AllreduceOptions options;
                 options.reduceOp = reduce == Reduce::kSum   ? c10d::ReduceOp::SUM
                                    : reduce == Reduce::kMax ? c10d::ReduceOp::MAX
                                                             : c10d::ReduceOp::MIN;
                 return backend.allreduce(kept, options);
               });
}

Pending Group::all_gather_async(at::Tensor& out, const at::Tensor& in) {
  check_dense(in, "Group::all_gather");
  check_dense(out, "Group::all_gather");
  check_arg(out.numel() == size_ * in.numel() && out.scalar_type() == in.scalar_type(),
            "Group::all_gather", "expected room for ", size_, " parts of ", in.numel(),
            " values, got ", out.numel());
  if (!state_) {
    out.view({-1}).copy_(in.view({-1}));
    return {};
  }
  return start("all_gather", (size_ - 1) * bytes_of(in), {out.view({-1}), in.view({-1})},
               [](c10d::Backend& backend, std::vector<at::Tensor>& kept) {
                 return backend._allgather_base(kept[0], kept[1]);
               });
}

Pending Group::reduce_scatter_async(at::Tensor& out, const at::Tensor& in) {
  check_dense(in, "Group::reduce_scatter");
  check_dense(out, "Group::reduce_scatter");
  check_arg(in.numel() == size_ * out.numel() && out.scalar_type() == in.scalar_type(),
            "Group::reduce_scatter", "expected ", size_, " parts of ", out.numel(), " values, got ",
            in.numel());
  if (!state_) {
    out.view({-1}).copy_(in.view({-1}));
    return {};
  }
  return start("reduce_scatter", (size_ - 1) * bytes_of(out), {out.view({-1}), in.view({-1})},
               [](c10d::Backend& backend, std::vector<at::Tensor>& kept) {
                 return backend._reduce_scatter_base(kept[0], kept[1]);
               });
}

void Group::all_reduce(at::Tensor& x, Reduce reduce) { all_reduce_async(x, reduce).wait(); }

at::Tensor Group::all_gather(const at::Tensor& x, int64_t dim) {
  if (!state_) return x;
  const at::Tensor in = x.contiguous();
  std::vector<int64_t> shape = in.sizes().vec();
  shape.insert(shape.begin(), size_);
  at::Tensor out = at::empty(shape, in.options());  // (n, ...)
  all_gather_async(out, in).wait();
  if (dim < 0) dim += x.dim();
  if (dim == 0) return out.flatten(0, 1);
  return at::cat(out.unbind(0), dim);
}

at::Tensor Group::reduce_scatter(const at::Tensor& x, int64_t dim) {
  if (!state_) return x;
  if (dim < 0) dim += x.dim();
  check_arg(dim >= 0 && dim < x.dim() && x.size(dim) % size_ == 0, "Group::reduce_scatter", "axis ",
            axis_, ": dimension ", dim, " of ", x.sizes(), " does not divide by ", size_);
  const at::Tensor in = dim == 0 ? x.contiguous() : at::cat(x.chunk(size_, dim), 0).contiguous();
  std::vector<int64_t> shape = x.sizes().vec();
  shape[static_cast<size_t>(dim)] /= size_;
  at::Tensor out = at::empty(shape, x.options());
  reduce_scatter_async(out, in).wait();
  return out;
}

at::Tensor Group::all_to_all(const at::Tensor& x) {
  if (!state_) return x;
  check_arg(x.dim() >= 1 && x.size(0) % size_ == 0, "Group::all_to_all", "axis ", axis_,
            ": dimension 0 of ", x.sizes(), " does not divide by ", size_);
  const at::Tensor in = x.contiguous();
  const at::Tensor out = at::empty(in.sizes(), in.options());
  start("all_to_all", bytes_of(in) / size_ * (size_ - 1), {out, in},
        [](c10d::Backend& backend, std::vector<at::Tensor>& kept) {
          std::vector<int64_t> evenly;
          return backend.alltoall_base(kept[0], kept[1], evenly, evenly);
        })
      .wait();
  return out;
}

void Group::broadcast(at::Tensor& x, int64_t from) {
  check_dense(x, "Group::broadcast");
  check_arg(from >= 0 && from < size_, "Group::broadcast", "axis ", axis_, ": no rank ", from);
  if (!state_) return;
  start("broadcast", from == rank_ ? bytes_of(x) : 0, {x},
        [from](c10d::Backend& backend, std::vector<at::Tensor>& kept) {
          c10d::BroadcastOptions options;
          options.rootRank = from;
          return backend.broadcast(kept, options);
        })
      .wait();
}

void Group::barrier() {
  if (!state_) return;
  start("barrier", 0, {}, [](c10d::Backend& backend, std::vector<at::Tensor>&) {
    return backend.barrier();
  }).wait();
}

Pending Group::send(const at::Tensor& x, int64_t to) {
  check_dense(x, "Group::send");
  check_arg(to >= 0 && to < size_ && to != rank_, "Group::send", "axis ", axis_,
            ": no message from rank ", rank_, " to ", to);
  return start("send", bytes_of(x), {x}, [&, to](c10d::Backend&, std::vector<at::Tensor>& kept) {
    return state_->message_way(rank_, to).send(kept, static_cast<int>(to), /*tag=*/0);
  });
}

Pending Group::receive(at::Tensor& x, int64_t from) {
  check_dense(x, "Group::receive");
  check_arg(from >= 0 && from < size_ && from != rank_, "Group::receive", "axis ", axis_,
            ": no message from rank ", from, " to ", rank_);
  return start("receive", 0, {x}, [&, from](c10d::Backend&, std::vector<at::Tensor>& kept) {
    return state_->message_way(from, rank_).recv(kept, static_cast<int>(from), /*tag=*/0);
  });
}

void Group::connect(int64_t other) {
  check_arg(other >= 0 && other < size_ && other != rank_, "Group::connect", "axis ", axis_,
            ": no rank ", other, " beside ", rank_);
  if (!device_.is_cuda()) return;
  const Traffic before = state_->traffic;
  const int64_t first = std::min(rank_, other), second = std::max(rank_, other);
  for (const auto& [from, to] : {std::pair(first, second), std::pair(second, first)}) {
    at::Tensor one = at::zeros({1}, at::TensorOptions(device_));
    (from == rank_ ? send(one, to) : receive(one, from)).wait();
  }
  state_->traffic = before;
}

const Traffic& Group::traffic() const {
  static const Traffic kNone;
  return state_ ? state_->traffic : kNone;
}

void Group::forget_traffic() {
  if (state_) state_->traffic = {};
}

}  // namespace lexel::parallel
