#include "autoregressive/parallel/mpi_backend.h"

#include <algorithm>
#include <c10/util/BFloat16.h>
#include <chrono>
#include <mpi.h>
#include <thread>

#include "kernels/check.h"

namespace lexel::parallel {
namespace {

using Clock = std::chrono::steady_clock;

void check_mpi(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  fail(ErrorKind::kIo, call, ": ", std::string(text, static_cast<size_t>(length)));
}

/// Sums, maxima and minima of bfloat16, which MPI does not know.
template <class Combine>
void combine_bfloat16(void* in, void* inout, int* count, MPI_Datatype*) {
  const auto* const a = static_cast<const c10::BFloat16*>(in);
  auto* const b = static_cast<c10::BFloat16*>(inout);
  for (int i = 0; i < *count; ++i)
    b[i] = c10::BFloat16(Combine{}(static_cast<float>(a[i]), static_cast<float>(b[i])));
}
struct Add {
  float operator()(float a, float b) const { return a + b; }
};
struct Larger {
  float operator()(float a, float b) const { return std::max(a, b); }
};
struct Smaller {
  float operator()(float a, float b) const { return std::min(a, b); }
};

/// MPI of this process: begun once, ended at exit unless something failed (then mpirun must end the others).
class Library {
 public:
  static Library& get() {
    static Library library;
    return library;
  }
  MPI_Datatype bfloat16 = MPI_DATATYPE_NULL;
  MPI_Op sum = MPI_OP_NULL, most = MPI_OP_NULL, least = MPI_OP_NULL;
  bool failed = false;

 private:
  Library() {
    int given = 0;
    check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &given), "MPI_Init_thread");
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Type_contiguous(2, MPI_BYTE, &bfloat16);
    MPI_Type_commit(&bfloat16);
    MPI_Op_create(combine_bfloat16<Add>, 1, &sum);
    MPI_Op_create(combine_bfloat16<Larger>, 1, &most);
    MPI_Op_create(combine_bfloat16<Smaller>, 1, &least);
  }
  ~Library() {
    if (!failed) MPI_Finalize();
  }
};

MPI_Datatype type_of(const at::Tensor& x) {
  switch (x.scalar_type()) {
    case at::kFloat:
      return MPI_FLOAT;
    case at::kDouble:
      return MPI_DOUBLE;
    case at::kLong:
      return MPI_INT64_T;
    case at::kBFloat16:
      return Library::get().bfloat16;
    default:
      fail(ErrorKind::kUnsupported, "MPI: no collectives of ", x.scalar_type());
  }
}

MPI_Op operation(const at::Tensor& x, const c10d::ReduceOp& reduce) {
  const Library& own = Library::get();
  const bool narrow = x.scalar_type() == at::kBFloat16;
  if (reduce == c10d::ReduceOp::SUM) return narrow ? own.sum : MPI_SUM;
  if (reduce == c10d::ReduceOp::MAX) return narrow ? own.most : MPI_MAX;
  return narrow ? own.least : MPI_MIN;
}

int count_of(const at::Tensor& x) {
  check(x.numel() <= INT32_MAX, ErrorKind::kUnsupported, "MPI: more than 2^31 values at once");
  return static_cast<int>(x.numel());
}

/// A request under way, with the tensors that it reads and writes.
class MpiWork : public c10d::Work {
 public:
  MpiWork(MPI_Request request, std::vector<at::Tensor> kept, std::chrono::milliseconds timeout)
      : request_(request), kept_(std::move(kept)), timeout_(timeout) {}

  bool wait(std::chrono::milliseconds) override {
    int done = 0;
    for (const auto end = Clock::now() + timeout_; done == 0;) {
      check_mpi(MPI_Test(&request_, &done, MPI_STATUS_IGNORE), "MPI_Test");
      if (done != 0) break;
      if (Clock::now() >= end) {
        Library::get().failed = true;
        fail(ErrorKind::kIo, "timed out after ", timeout_.count(), " ms");
      }
      std::this_thread::yield();
    }
    return true;
  }

 private:
  MPI_Request request_;
  std::vector<at::Tensor> kept_;
  std::chrono::milliseconds timeout_;
};

class MpiBackend : public c10d::Backend {
 public:
  MpiBackend(MPI_Comm comm, int rank, int size, std::chrono::milliseconds timeout)
      : c10d::Backend(rank, size), comm_(comm), wait_(timeout) {}

  c10::intrusive_ptr<c10d::Work> allreduce(std::vector<at::Tensor>& tensors,
                                           const c10d::AllreduceOptions& options) override {
    const at::Tensor& x = tensors[0];
    return run({x}, [&](MPI_Request* request) {
      return MPI_Iallreduce(MPI_IN_PLACE, x.data_ptr(), count_of(x), type_of(x),
                            operation(x, options.reduceOp), comm_, request);
    });
  }
  c10::intrusive_ptr<c10d::Work> _allgather_base(at::Tensor& out, at::Tensor& in,
                                                 const c10d::AllgatherOptions&) override {
    return run({out, in}, [&](MPI_Request* request) {
      return MPI_Iallgather(in.data_ptr(), count_of(in), type_of(in), out.data_ptr(), count_of(in),
                            type_of(in), comm_, request);
    });
  }
  c10::intrusive_ptr<c10d::Work> _reduce_scatter_base(at::Tensor& out, at::Tensor& in,
                                                      const c10d::ReduceScatterOptions&) override {
    return run({out, in}, [&](MPI_Request* request) {
      return MPI_Ireduce_scatter_block(in.data_ptr(), out.data_ptr(), count_of(out), type_of(in),
                                       operation(in, c10d::ReduceOp::SUM), comm_, request);
    });
  }
  c10::intrusive_ptr<c10d::Work> alltoall_base(at::Tensor& out, at::Tensor& in,
                                               std::vector<int64_t>&, std::vector<int64_t>&,
                                               const c10d::AllToAllOptions&) override {
    const int part = count_of(in) / getSize();
    return run({out, in}, [&](MPI_Request* request) {
      return MPI_Ialltoall(in.data_ptr(), part, type_of(in), out.data_ptr(), part, type_of(in),
                           comm_, request);
    });
  }
  c10::intrusive_ptr<c10d::Work> broadcast(std::vector<at::Tensor>& tensors,
                                           const c10d::BroadcastOptions& options) override {
    const at::Tensor& x = tensors[0];
    return run({x}, [&](MPI_Request* request) {
      return MPI_Ibcast(x.data_ptr(), count_of(x), type_of(x), static_cast<int>(options.rootRank),
                        comm_, request);
    });
  }
  c10::intrusive_ptr<c10d::Work> barrier(const c10d::BarrierOptions&) override {
    return run({}, [&](MPI_Request* request) { return MPI_Ibarrier(comm_, request); });
  }
  c10::intrusive_ptr<c10d::Work> send(std::vector<at::Tensor>& tensors, int to, int tag) override {
    const at::Tensor& x = tensors[0];
    return run({x}, [&](MPI_Request* request) {
      return MPI_Isend(x.data_ptr(), count_of(x), type_of(x), to, tag, comm_, request);
    });
  }
  c10::intrusive_ptr<c10d::Work> recv(std::vector<at::Tensor>& tensors, int from,
                                      int tag) override {
    const at::Tensor& x = tensors[0];
    return run({x}, [&](MPI_Request* request) {
      return MPI_Irecv(x.data_ptr(), count_of(x), type_of(x), from, tag, comm_, request);
    });
  }

 private:
  template <class Start>
  c10::intrusive_ptr<c10d::Work> run(std::vector<at::Tensor> kept, Start&& start) {
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(start(&request), "MPI");
    return c10::make_intrusive<MpiWork>(request, std::move(kept), wait_);
  }

  MPI_Comm comm_;
  std::chrono::milliseconds wait_;
};

}  // namespace

c10::intrusive_ptr<c10d::Backend> mpi_backend(const World& world,
                                              const std::vector<int64_t>& members, int64_t rank) {
  Library::get();
  int own = 0, size = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &own);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  check(own == world.rank && size == world.size, ErrorKind::kUsage,
        "LEXEL_TRANSPORT=mpi: MPI has rank ", own, " of ", size, ", the launcher ", world.rank,
        " of ", world.size, " (start with mpirun)");
  const std::vector<int> ranks(members.begin(), members.end());
  MPI_Group all = MPI_GROUP_NULL, group = MPI_GROUP_NULL;
  MPI_Comm comm = MPI_COMM_NULL;
  check_mpi(MPI_Comm_group(MPI_COMM_WORLD, &all), "MPI_Comm_group");
  check_mpi(MPI_Group_incl(all, static_cast<int>(ranks.size()), ranks.data(), &group),
            "MPI_Group_incl");
  // Members alone call; groups that start at one rank have other sizes or strides, so tags tell them apart.
  const int tag = static_cast<int>(
      (members.front() * 31 + members.back() * 17 + static_cast<int64_t>(members.size())) % 32000);
  check_mpi(MPI_Comm_create_group(MPI_COMM_WORLD, group, tag, &comm), "MPI_Comm_create_group");
  MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
  MPI_Group_free(&group);
  MPI_Group_free(&all);
  return c10::make_intrusive<MpiBackend>(comm, static_cast<int>(rank),
                                         static_cast<int>(members.size()), world.timeout);
}

}  // namespace lexel::parallel
