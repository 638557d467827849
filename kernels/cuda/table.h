#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <span>

#include "kernels/adafactor_part.h"
#include "kernels/adamw_part.h"
#include "kernels/attention_mask.h"
#include "kernels/codebook_lookup.h"
#include "kernels/decode_attention.h"
#include "kernels/gpu_stopwatch.h"
#include "kernels/linear_decode.h"
#include "kernels/sampling.h"
#include "kernels/upfirdn_part.h"

namespace lexel::kernels {

/// What the forward pass of attention keeps for the backward pass.
struct AttentionForward {
  at::Tensor out;  // (B, H, N, d), laid out as (B, N, H, d)
  at::Tensor
      log_sum_exp;  // (B, H, N) float32, of the scaled scores; -infinity where no key is seen
};

struct AttentionGradients {
  at::Tensor q, k, v;
};

struct LogitLaplace {
  at::Tensor loss;      // scalar float32
  at::Tensor gradient;  // of the loss in `output`, its shape; undefined if not wanted
};

/// How kernels/*.cpp reach CUDA: the functions of liblexel_cuda.so. Arguments are checked by the caller and lie on one
/// device; results are allocated by the callee; work goes to that device's current stream.
struct CudaKernels {
  int64_t version;        // kCudaKernelsVersion of the plugin
  int (*device_count)();  // GPUs that LibTorch can use, or kLoadedTooLate

  CodebookMatch (*codebook_lookup)(const at::Tensor& rows, const at::Tensor& codes,
                                   const LookupOptions& options);

  AttentionForward (*attention_forward)(const at::Tensor& q, const at::Tensor& k,
                                        const at::Tensor& v, const AttentionMask& mask,
                                        const at::Tensor& key_mask);
  AttentionGradients (*attention_backward)(const at::Tensor& grad, const at::Tensor& q,
                                           const at::Tensor& k, const at::Tensor& v,
                                           const AttentionForward& forward,
                                           const AttentionMask& mask, const at::Tensor& key_mask);

  void (*append_to_cache)(KvCache& cache, const at::Tensor& k, const at::Tensor& v,
                          const at::Tensor& positions);
  at::Tensor (*decode_attention)(const at::Tensor& q, const KvCache& cache,
                                 const at::Tensor& lengths, const AttentionMask& mask);

  // From rounded rows, values (O, I) and scales (O, groups), to the layout that linear_decode reads, and back. Rounding and
  // checks are the caller's.
  DecodeWeights (*lay_out_weights)(const DecodeWeights& rows);
  DecodeWeights (*weight_rows)(const DecodeWeights& weights);
  at::Tensor (*linear_decode)(const at::Tensor& x, const DecodeWeights& weights,
                              const LinearDecodeOptions& options);

  Drawn (*sample)(const at::Tensor& logits, const at::Tensor& unconditional,
                  const at::Tensor& pictures, const at::Tensor& positions,
                  const SamplingOptions& options);

  void (*adamw)(const at::Tensor& where, std::span<const AdamWPart> parts);  // where: on the device
  void (*adafactor)(const at::Tensor& where, const AdafactorPart& part);
  // Its stages: sums (R + C) and totals (2) float64 on the device.
  void (*adafactor_squares)(const at::Tensor& where, const AdafactorPart& part, double* sums);
  void (*adafactor_factors)(const at::Tensor& where, const AdafactorPart& part, const double* sums,
                            double* totals);
  void (*adafactor_update)(const at::Tensor& where, const AdafactorPart& part,
                           const double* totals);

  LogitLaplace (*logit_laplace)(const at::Tensor& output, const at::Tensor& images,
                                bool with_gradient);
  void (*upfirdn2d)(const at::Tensor& x, const UpfirdnPart& part, const at::Tensor& result);

  GpuStopwatch (*make_stopwatch)(at::Device device, std::function<void()> work);
  GpuDescription (*describe_gpu)(at::Device device);
};

/// Raised with every change of the struct: a plugin of another build is refused.
constexpr int64_t kCudaKernelsVersion = 4;

/// LibTorch asks once whether it has a CUDA half (for one, at the first backward pass) and keeps the answer; a plugin
/// that comes later cannot change it.
constexpr int kLoadedTooLate = -1;

/// The plugin exports this function, extern "C", returning const CudaKernels*.
constexpr const char* kCudaKernelsSymbol = "lexel_cuda_kernels";

/// The table; the first call loads the plugin (and libtorch_cuda with it).
///
/// throws   Error(kUnsupported) when there is no plugin, or it cannot be loaded
const CudaKernels& cuda_kernels();

/// The table that works on this tensor: the plugin's for CUDA, null for the CPU.
const CudaKernels* cuda_kernels_for(const at::Tensor& tensor);

/// Tests only: CUDA code that runs on the CPU's memory (tests/cuda_emulator) takes CPU tensors too, until set back to null.
void send_cpu_tensors_to(const CudaKernels* table);

}  // namespace lexel::kernels
