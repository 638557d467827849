#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <functional>

#include "autoregressive/moe/gating.h"

namespace lexel::moe {

/// E feed-forward networks of two matrices without biases, in the memory order of (E, hidden, D) and (E, D, hidden): two
/// dimensions, so that a file, an optimizer and a split over ranks (dimension 0) treat them as any other matrix.
struct Experts {
  at::Tensor router;  // (E, D)
  at::Tensor
      tasks;  // (tasks, D): embeddings that the router reads in the place of tokens; undefined: routed by token
  at::Tensor up;    // (E hidden, D)
  at::Tensor down;  // (E D, hidden)
};

/// Where experts are held by several ranks: how their inputs get to them and their outputs back. This one is a rank that holds
/// all. Differentiable; called by all ranks in the same order with tensors of the same shape.
class ExpertExchange {
 public:
  ExpertExchange() = default;
  ExpertExchange(const ExpertExchange&) = delete;
  ExpertExchange& operator=(const ExpertExchange&) = delete;
  virtual ~ExpertExchange() = default;

  /// Ranks that the experts are split over: this one holds E / ranks() of them, in the order of ranks.
  virtual int64_t ranks() const { return 1; }
  /// x (E, n, D), the rows that this rank's tokens have for each expert; (E / ranks, ranks n, D), those of all ranks for its own.
  virtual at::Tensor to_experts(const at::Tensor& x) const { return x; }
  /// The way back: (E / ranks, ranks n, D) to (E, n, D).
  virtual at::Tensor from_experts(const at::Tensor& x) const { return x; }
  /// The largest of the ranks' numbers.
  virtual int64_t largest(int64_t rows) const { return rows; }
};

using Activation = std::function<at::Tensor(const at::Tensor&)>;

/// The tokens as rows of the buffer of a routing, zeros where a row has none; and the weighted sum of a buffer's rows by token.
/// Both by copying rows, their gradients too.
///
/// x        (T, D)
/// returns  (rows, D)
at::Tensor dispatch(const at::Tensor& x, const Routing& routing);
/// y        (rows, D)
/// returns  (T, D) of the gates' dtype: zeros for a token that no expert took
at::Tensor combine(const at::Tensor& y, const Routing& routing);

/// combine(down(activation(up(dispatch(x))))), the experts batched by bmm over (E, rows, D), or one after another where a routing
/// gives them differing rows.
///
/// x         (T, D) float32, bfloat16 or float64: the products' dtype
/// experts   up and down; where `exchange` has several ranks, this rank's part of them
/// exchange  null: one rank
/// returns   (T, D) of the gates' dtype
/// throws    Error(kUsage) experts that do not divide by ranks, or matrices of another shape; a routing of differing rows with an
///           exchange of several ranks
/// source    Lepikhin et al. 2020, arXiv:2006.16668, algorithm 2
at::Tensor apply_experts(const at::Tensor& x, const Experts& experts, const Routing& routing,
                         const Activation& activation, const ExpertExchange* exchange = nullptr);

/// Entropy of the use of experts over its largest value, ln E: 1 where all are used alike. () float64.
///
/// chosen   (E) int64
at::Tensor use_entropy(const at::Tensor& chosen);

}  // namespace lexel::moe
