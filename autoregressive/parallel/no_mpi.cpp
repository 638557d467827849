#include "autoregressive/parallel/mpi_backend.h"
#include "kernels/check.h"

namespace lexel::parallel {

c10::intrusive_ptr<c10d::Backend> mpi_backend(const World&, const std::vector<int64_t>&, int64_t) {
  fail(ErrorKind::kUnsupported, "LEXEL_TRANSPORT=mpi: this build has no MPI (-DLEXEL_MPI=ON)");
}

}  // namespace lexel::parallel
