#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

namespace lexel::moe {

/// Whose rules top2_gating follows where sources differ.
enum class Gating {
  kGShard,  // Algorithm 1: a second choice counts against an expert's capacity whether it is taken or not
  kLingvo,  // lingvo's Top2GatingOnLogits: only tokens that are taken do; auxiliary loss times E^2
};

struct GatingOptions {
  Gating rules = Gating::kGShard;
  double capacity_factor =
      1.0;  // an expert takes ceil(factor 2 n / E) of a group's n tokens; 1: the paper's 2 n / E
};

/// Where each token goes: to at most two experts, whose inputs are the rows of a buffer that holds expert after expert. A token that
/// no expert takes goes nowhere, and what stays of it is the residual stream.
struct Routing {
  int64_t tokens = 0;   // T = G S
  int64_t experts = 0;  // E
  int64_t rows = 0;     // of the buffer: E G C in the order (E, G, C), or the sum of rows_of_expert
  std::vector<int64_t> rows_of_expert;  // empty: the same for each

  at::Tensor
      gates;  // (2, T) of the logits' dtype, differentiable: weights of both choices; 0 where not taken
  at::Tensor slots;  // (2, T) int64: rows of the buffer; `rows` where not taken
  at::Tensor
      auxiliary;  // () of the logits' dtype, differentiable: the loss that evens the use of experts
  at::Tensor chosen;  // (E) int64: tokens whose first choice an expert is, taken or not
};

/// Rows of the buffer that an expert has for a group of `tokens`.
int64_t expert_capacity(double capacity_factor, int64_t tokens, int64_t experts);

/// What the second choice of each token is drawn with. It depends on (seed, step, layer, number of the group, place in it) only.
///
/// layer        names the place in the model
/// first_group  number of the first group in the whole batch, of which these may be a part
/// returns      (groups, tokens) float64 in [0, 1), on the CPU
at::Tensor second_choice_noise(uint64_t seed, int64_t step, std::string_view layer,
                               int64_t first_group, int64_t groups, int64_t tokens);

/// Each token of a group to its two likeliest experts, within their capacity: first all first choices in the tokens' order, then
/// the second choices, each with a chance of twice its gate. On equal logits the lower index wins.
///   p = softmax(logits); (g1, e1), (g2, e2) the two largest p; g1, g2 over g1 + g2
///   first:  taken where the tokens before it whose first choice is e1 are fewer than C
///   second: taken where those and the second choices of e2 before it are fewer than C, and noise < 2 g2
///   auxiliary = mean over groups of 1/E sum_e (c_e / n) m_e, c_e = first choices of e, m_e = mean of p_e  [lingvo: E^2 times that]
///
/// logits   (G, S, E) float32 or float64, E >= 2
/// noise    (G, S) float64 in [0, 1)
/// real     (G, S) bool: tokens that are there (n of a group); the others go nowhere. Undefined: all. C follows n
/// throws   Error(kUsage) on another shape or dtype, or a capacity_factor that is not finite and above 0
/// source   Lepikhin et al. 2020, arXiv:2006.16668, algorithm 1; lingvo/core/gshard_layers.py Top2GatingOnLogits
Routing top2_gating(const at::Tensor& logits, const at::Tensor& noise, const at::Tensor& real,
                    const GatingOptions& options);

/// Each token to its two likeliest experts, all taken: for drawing, and for routing by task. No group competes for anything.
///
/// logits   (T, E) float32 or float64
/// real     (T) bool, or undefined: all
/// even     given: the buffer has the same number of rows for each expert, which is what `even` makes of the number that the one
///          chosen most needs; else each has as many as it needs
/// returns  auxiliary undefined
/// throws   Error(kUsage) on another shape or dtype
Routing unlimited_gating(const at::Tensor& logits, const at::Tensor& real,
                         const std::function<int64_t(int64_t most)>& even = {});

/// The auxiliary loss of a table of tasks, each as frequent as any other: 1/E sum_e f_e m_e with f_e the share of tasks whose first
/// choice is e and m_e the mean over tasks of p_e. () of the logits' dtype, differentiable.
///
/// logits   (tasks, E)
at::Tensor task_balance(const at::Tensor& logits);

}  // namespace lexel::moe
