#include "kernels/codebook_lookup.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/argmin.h>
#include <ATen/ops/cdist.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/where.h>
#include <algorithm>

#include "apps/bench/case.h"
#include "kernels/check.h"

namespace lexel::bench {
namespace {

using kernels::codebook_lookup;
using kernels::CodeMetric;

struct Size {
  int64_t num_rows, num_codes, width;
};

/// (count, width) on the unit sphere; faiss_flat.py takes others of the same kind, which changes no time.
at::Tensor unit_vectors(uint64_t seed, int64_t count, int64_t width, at::Device device) {
  const at::Tensor x =
      at::empty({count, width}).normal_(0.0, 1.0, at::detail::createCPUGenerator(seed));
  return x.div(x.norm(2, 1, /*keepdim=*/true)).to(device);
}

at::Tensor by_matmul(const at::Tensor& rows, const at::Tensor& codes) {
  return at::matmul(rows, codes.t()).argmax(1);
}

/// As above, with at most 8192 codes at a time: 403 MB of scores become 13.
at::Tensor by_chunked_matmul(const at::Tensor& rows, const at::Tensor& codes) {
  constexpr int64_t kChunk = 8192;
  at::Tensor best, ids;
  for (int64_t begin = 0; begin < codes.size(0); begin += kChunk) {
    const at::Tensor part = codes.slice(0, begin, std::min(begin + kChunk, codes.size(0)));
    const auto [score, place] = at::matmul(rows, part.t()).max(1);
    const at::Tensor id = place + begin;
    ids = ids.defined() ? at::where(score > best, id, ids) : id;
    best = best.defined() ? score.maximum(best) : score;
  }
  return ids;
}

/// |x|^2 + |c|^2 - 2 x.c, as VQGAN's published code writes it.
at::Tensor by_expanded_squares(const at::Tensor& rows, const at::Tensor& codes) {
  const at::Tensor distance = rows.square().sum(1, /*keepdim=*/true) + codes.square().sum(1) -
                              at::matmul(rows, codes.t()) * 2;
  return distance.argmin(1);
}

/// Ids against matmul's: where they differ, float64 must find the two codes closer than the kernel's stated margin.
std::string compare(const at::Tensor& rows, const at::Tensor& codes) {
  const at::Tensor ours = codebook_lookup(rows, codes, CodeMetric::kCosine).ids;
  const at::Tensor peer = by_chunked_matmul(rows, codes);
  const at::Tensor flipped = ours.ne(peer).nonzero().flatten();
  if (flipped.numel() > 0) {
    const at::Tensor x = rows.index_select(0, flipped).to(at::kDouble);
    const auto score = [&](const at::Tensor& ids) {
      return (x * codes.index_select(0, ids.index_select(0, flipped)).to(at::kDouble)).sum(1);
    };
    const auto margin = (score(ours) - score(peer)).abs().max().item<double>();
    check(margin < 4e-6, ErrorKind::kInternal, "codebook_lookup: a winner is ", margin,
          " from matmul's");
  }
  return concat("ids equal those of matmul + argmax in ", rows.size(0) - flipped.numel(), " of ",
                rows.size(0), " rows, the others within 4e-6");
}

Case make_case(const Size& size, at::Device device) {
  const auto prepare = [size, device] {
    const at::NoGradGuard no_grad;
    const at::Tensor rows = unit_vectors(1, size.num_rows, size.width, device);
    const at::Tensor codes = unit_vectors(2, size.num_codes, size.width, device);
    Runs runs;
    runs.check = [=] { return compare(rows, codes); };
    runs.ours = {"codebook_lookup", [=] { codebook_lookup(rows, codes, CodeMetric::kCosine); }};
    if (size.num_codes > 65536) {
      runs.peers.push_back(
          {"LibTorch matmul + max, chunks of 8192 codes", [=] { by_chunked_matmul(rows, codes); }});
      return runs;
    }
    runs.peers.push_back({"LibTorch matmul + argmax", [=] { by_matmul(rows, codes); }});
    runs.peers.push_back({"LibTorch cdist + argmin", [=] { at::cdist(rows, codes).argmin(1); }});
    runs.peers.push_back(
        {"LibTorch |x|^2 + |c|^2 - 2 x.c + argmin", [=] { by_expanded_squares(rows, codes); }});
    return runs;
  };
  const auto flop = 2.0 * static_cast<double>(size.num_rows) * static_cast<double>(size.num_codes) *
                    static_cast<double>(size.width);
  return {"codebook_lookup",
          concat(size.num_rows, " x ", size.num_codes, " x ", size.width, ", cosine"),
          device.is_cpu() ? Ceiling::kFma : Ceiling::kTensor, flop, prepare};
}

}  // namespace

std::vector<Case> codebook_lookup_cases(at::Device device) {
  std::vector<Size> sizes{{1024, 8192, 32}};
  if (device.is_cpu()) {
    sizes.insert(sizes.end(), {{8192, 8192, 32}, {1024, 8192, 256}, {384, 262144, 256}});
  } else {
    sizes.insert(sizes.end(), {{65536, 8192, 32}, {1024, 8192, 256}, {65536, 262144, 256}});
  }
  sizes.insert(sizes.end(), {{1, 8192, 32}, {16, 8192, 32}, {1, 8192, 256}});
  std::vector<Case> cases;
  for (const Size& size : sizes) cases.push_back(make_case(size, device));
  return cases;
}

}  // namespace lexel::bench
