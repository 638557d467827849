// Loss and gradient in one pass; each block's part of the mean is summed by itself, and one block adds the parts in their order.

#include "kernels/cuda/block_sum.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/logit_laplace.h"

namespace lexel::kernels::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads)
    logit_laplace_kernel(LogitLaplaceArguments a, int64_t runs, double scale) {
  const int64_t picture = blockIdx.x / runs, begin = blockIdx.x % runs * kLaplaceRun;
  const int64_t end = begin + kLaplaceRun < a.values ? begin + kLaplaceRun : a.values;
  const float* const mu = a.maps + 2 * picture * a.values;
  const float* const log_b = mu + a.values;
  const float* const images = a.images + picture * a.values;
  const auto step = static_cast<float>(scale);
  float sum = 0.0F;
#pragma unroll 4
  for (int64_t i = begin + threadIdx.x; i < end; i += kThreads) {
    const float image = images[i];
    const float clamped = image < 0.0F ? 0.0F : image > 1.0F ? 1.0F : image;  // NaN stays
    const float x = fmaf(clamped, 0.8F, 0.1F);
    const float log_x = logf(x), log_rest = logf(1.0F - x);
    const float ln_b = log_b[i], inverse_b = expf(-ln_b);
    const float difference = log_x - log_rest - mu[i];
    const float distance = fabsf(difference) * inverse_b;
    sum += distance + ln_b + (log_x + log_rest + 0.69314718F);
    if (a.gradient != nullptr) {
      float* const mu_gradient = a.gradient + 2 * picture * a.values;
      mu_gradient[i] = difference == 0.0F ? 0.0F : -copysignf(inverse_b, difference) * step;
      mu_gradient[a.values + i] = (1.0F - distance) * step;
    }
  }
  const double total = block_sum<kThreads>(static_cast<double>(sum));
  if (threadIdx.x == 0) a.sums[blockIdx.x] = total;
}

__global__ void __launch_bounds__(kThreads)
    logit_laplace_mean_kernel(const double* sums, int64_t count, double scale, float* loss) {
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < count; i += kThreads) sum += sums[i];
  const double total = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) *loss = static_cast<float>(total * scale);
}

}  // namespace

void launch_logit_laplace(const LogitLaplaceArguments& a, Stream stream) {
  const int64_t runs = (a.values + kLaplaceRun - 1) / kLaplaceRun;
  const double scale = 1.0 / (static_cast<double>(a.pictures) * static_cast<double>(a.values));
  launch("logit_laplace", logit_laplace_kernel,
         {dim3(static_cast<unsigned>(a.pictures * runs)), dim3(kThreads)}, stream, a, runs, scale);
  launch("logit_laplace_mean", logit_laplace_mean_kernel, {dim3(1), dim3(kThreads)}, stream, a.sums,
         a.pictures * runs, scale, a.loss);
}

}  // namespace lexel::kernels::cuda
