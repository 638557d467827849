#pragma once

#include "kernels/cuda/table.h"

// The entries of the table, one for each kernel: x.cpp turns tensors into pointers and calls the launches of x.cu.
namespace lexel::kernels::cuda {

CodebookMatch codebook_lookup(const at::Tensor& rows, const at::Tensor& codes,
                              const LookupOptions& options);

AttentionForward attention_forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                   const AttentionMask& mask, const at::Tensor& key_mask);
AttentionGradients attention_backward(const at::Tensor& grad, const at::Tensor& q,
                                      const at::Tensor& k, const at::Tensor& v,
                                      const AttentionForward& forward, const AttentionMask& mask,
                                      const at::Tensor& key_mask);
void adamw(const at::Tensor& where, std::span<const AdamWPart> parts);
void adafactor(const at::Tensor& where, const AdafactorPart& part);
void adafactor_squares(const at::Tensor& where, const AdafactorPart& part, double* sums);
void adafactor_factors(const at::Tensor& where, const AdafactorPart& part, const double* sums,
                       double* totals);
void adafactor_update(const at::Tensor& where, const AdafactorPart& part, const double* totals);
LogitLaplace logit_laplace(const at::Tensor& output, const at::Tensor& images, bool with_gradient);
void upfirdn2d(const at::Tensor& x, const UpfirdnPart& part, const at::Tensor& result);

void append_to_cache(KvCache& cache, const at::Tensor& k, const at::Tensor& v,
                     const at::Tensor& positions);
at::Tensor decode_attention(const at::Tensor& q, const KvCache& cache, const at::Tensor& lengths,
                            const AttentionMask& mask);

DecodeWeights lay_out_weights(const DecodeWeights& rows);
DecodeWeights weight_rows(const DecodeWeights& weights);
at::Tensor linear_decode(const at::Tensor& x, const DecodeWeights& weights,
                         const LinearDecodeOptions& options);

Drawn sample(const at::Tensor& logits, const at::Tensor& unconditional, const at::Tensor& pictures,
             const at::Tensor& positions, const SamplingOptions& options);

/// The table of all of them.
CudaKernels make_table(int (*device_count)());

}  // namespace lexel::kernels::cuda
