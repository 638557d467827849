#include "autoregressive/moe/gating.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/ceil.h>
#include <ATen/ops/cumsum.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/check.h"
#include "kernels/philox.h"

namespace lexel::moe {
namespace {

void check_logits(const at::Tensor& logits, int64_t dim, const char* function) {
  check_arg(logits.defined() && logits.dim() == dim && logits.size(-1) >= 2 &&
                (logits.scalar_type() == at::kFloat || logits.scalar_type() == at::kDouble),
            function, "expected logits of ", dim, " dimensions, the last of at least 2 experts, ",
            "float32 or float64, got ",
            logits.defined() ? concat(logits.scalar_type(), " of shape ", logits.sizes()) : "none");
}

void check_real(const at::Tensor& real, const at::Tensor& logits, const char* function) {
  check_arg(!real.defined() || (real.scalar_type() == at::kBool &&
                                real.sizes() == logits.sizes().slice(0, logits.dim() - 1)),
            function, "expected one flag (bool) a token, got another shape or dtype");
}

/// The two likeliest experts of each token, and their gates.
struct Choices {
  at::Tensor probabilities;  // (..., E)
  at::Tensor first, second;  // (...) int64
  at::Tensor gate1, gate2;   // (...), of which the sum is 1
};

Choices choose(const at::Tensor& logits) {
  Choices c;
  c.probabilities = at::softmax(logits, -1);
  const at::Tensor p = c.probabilities.detach();
  c.first = at::argmax(p, -1);  // the first of equals
  c.second = at::argmax(p.scatter(-1, c.first.unsqueeze(-1), -1.0), -1);
  const auto gate = [&](const at::Tensor& expert) {
    return c.probabilities.gather(-1, expert.unsqueeze(-1)).squeeze(-1);
  };
  const at::Tensor g1 = gate(c.first), g2 = gate(c.second), sum = g1 + g2;
  c.gate1 = g1 / sum;
  c.gate2 = g2 / sum;
  return c;
}

/// (..., E) int64: 1 at each token's expert, nothing where `counted` is false.
at::Tensor one_hot(const at::Tensor& expert, const at::Tensor& counted, int64_t experts) {
  return at::arange(experts, expert.options())
      .eq(expert.unsqueeze(-1))
      .logical_and(counted.unsqueeze(-1))
      .to(at::kLong);
}

/// How many tokens before each one chose the expert that it chose: (G, S).
at::Tensor places(const at::Tensor& hot, const at::Tensor& expert) {
  return (at::cumsum(hot, 1) - hot).gather(2, expert.unsqueeze(2)).squeeze(2);
}

at::Tensor value_at(const at::Tensor& of_expert, const at::Tensor& expert) {  // (G, E), (G, S)
  return of_expert.gather(1, expert);
}

}  // namespace

int64_t expert_capacity(double capacity_factor, int64_t tokens, int64_t experts) {
  const double share = 2.0 * capacity_factor / static_cast<double>(experts);
  return static_cast<int64_t>(std::ceil(share * static_cast<double>(tokens)));
}

at::Tensor second_choice_noise(uint64_t seed, int64_t step, std::string_view layer,
                               int64_t first_group, int64_t groups, int64_t tokens) {
  const at::Tensor noise = at::empty({groups, tokens}, at::kDouble);
  double* value = noise.mutable_data_ptr<double>();
  const std::array<uint32_t, 2> key = {static_cast<uint32_t>(seed),
                                       static_cast<uint32_t>(seed >> 32)};
  const auto purpose = static_cast<uint32_t>(fnv1a(layer) ^ fnv1a("second choice"));
  for (int64_t group = first_group; group < first_group + groups; ++group) {
    for (int64_t token = 0; token < tokens; ++token) {
      const auto words = philox4x32({static_cast<uint32_t>(token), purpose,
                                     static_cast<uint32_t>(step), static_cast<uint32_t>(group)},
                                    key);
      *value++ = static_cast<double>(words[0]) * 0x1p-32;
    }
  }
  return noise;
}

Routing top2_gating(const at::Tensor& logits, const at::Tensor& noise, const at::Tensor& real,
                    const GatingOptions& options) {
  const char* const name = "moe::top2_gating";
  check_logits(logits, 3, name);
  check_real(real, logits, name);
  check_arg(std::isfinite(options.capacity_factor) && options.capacity_factor > 0.0, name,
            "expected a capacity_factor above 0, got ", options.capacity_factor);
  const int64_t groups = logits.size(0), size = logits.size(1), experts = logits.size(2);
  check_arg(noise.defined() && noise.scalar_type() == at::kDouble &&
                noise.sizes() == logits.sizes().slice(0, 2),
            name, "expected float64 noise (", groups, ", ", size, "), got another shape or dtype");
  const bool lingvo = options.rules == Gating::kLingvo;
  const Choices c = choose(logits);
  const at::Tensor there =  // (G, S)
      real.defined() ? real : at::ones({groups, size}, logits.options().dtype(at::kBool));
  const at::Tensor length = there.sum(1, /*keepdim=*/true);  // (G, 1) int64
  const double share = 2.0 * options.capacity_factor / static_cast<double>(experts);
  const at::Tensor limit = at::ceil(length.to(at::kDouble) * share).to(at::kLong);  // (G, 1)

  const at::Tensor hot1 = one_hot(c.first, there, experts);  // (G, S, E)
  const at::Tensor count1 = hot1.sum(1);                     // (G, E)
  const at::Tensor place1 = places(hot1, c.first);
  const at::Tensor taken1 = there.logical_and(place1.lt(limit));

  const at::Tensor wanted =
      there.logical_and(c.gate2.detach().to(at::kDouble).mul(2.0).gt(noise.to(logits.device())));
  const at::Tensor hot2 = one_hot(c.second, lingvo ? wanted : there, experts);
  const at::Tensor start = lingvo ? at::where(count1.lt(limit), count1, limit) : count1;
  const at::Tensor place2 = places(hot2, c.second) + value_at(start, c.second);
  const at::Tensor taken2 = wanted.logical_and(place2.lt(limit));

  Routing routing;
  routing.tokens = groups * size;
  routing.experts = experts;
  const int64_t capacity = expert_capacity(options.capacity_factor, size, experts);
  routing.rows = experts * groups * capacity;
  const at::Tensor group = at::arange(groups, c.first.options()).unsqueeze(1);  // (G, 1)
  const auto slot = [&](const at::Tensor& expert, const at::Tensor& place,
                        const at::Tensor& taken) {
    return ((expert * groups + group) * capacity + place)
        .masked_fill(taken.logical_not(), routing.rows);
  };
  routing.slots =
      at::stack({slot(c.first, place1, taken1), slot(c.second, place2, taken2)}).flatten(1);
  routing.gates = at::stack({c.gate1.masked_fill(taken1.logical_not(), 0.0),
                             c.gate2.masked_fill(taken2.logical_not(), 0.0)})
                      .flatten(1);
  routing.chosen = count1.sum(0);

  const at::Tensor n = length.clamp_min(1).to(logits.scalar_type());  // (G, 1)
  const at::Tensor density = count1.to(logits.scalar_type()) / n;     // (G, E)
  const at::Tensor mean =
      (c.probabilities * there.unsqueeze(2).to(logits.scalar_type())).sum(1) / n;  // (G, E)
  const auto e = static_cast<double>(experts);
  routing.auxiliary = (density * mean).sum(1).mean() * (lingvo ? e : 1.0 / e);
  return routing;
}

Routing unlimited_gating(const at::Tensor& logits, const at::Tensor& real,
                         const std::function<int64_t(int64_t most)>& even) {
  const char* const name = "moe::unlimited_gating";
  check_logits(logits, 2, name);
  check_real(real, logits, name);
  const int64_t tokens = logits.size(0), experts = logits.size(1);
  const Choices c = choose(logits);
  const at::Tensor there =
      real.defined() ? real : at::ones({tokens}, logits.options().dtype(at::kBool));
  const at::Tensor expert = at::stack({c.first, c.second}).flatten();  // (2 T)
  const at::Tensor counted = there.unsqueeze(0).expand({2, tokens}).reshape({2 * tokens});
  const at::Tensor hot = one_hot(expert, counted, experts);                   // (2 T, E)
  const at::Tensor place = places(hot.unsqueeze(0), expert.unsqueeze(0))[0];  // (2 T)
  const at::Tensor count = hot.sum(0).cpu().contiguous();                     // (E)

  Routing routing;
  routing.tokens = tokens;
  routing.experts = experts;
  const int64_t* const counts = count.const_data_ptr<int64_t>();
  routing.rows_of_expert.assign(counts, counts + experts);
  if (even) {
    const int64_t most = even(*std::max_element(counts, counts + experts));
    routing.rows_of_expert.assign(static_cast<size_t>(experts), most);
  }
  const at::Tensor first = at::empty({experts}, at::kLong);  // row of each expert
  for (int64_t e = 0; e < experts; ++e) {
    first.mutable_data_ptr<int64_t>()[e] = routing.rows;
    routing.rows += routing.rows_of_expert[static_cast<size_t>(e)];
  }
  if (even) routing.rows_of_expert.clear();
  routing.slots = (first.to(expert.device()).index_select(0, expert) + place)
                      .masked_fill(counted.logical_not(), routing.rows)
                      .view({2, tokens});
  routing.gates = at::stack({c.gate1, c.gate2}).masked_fill(there.logical_not().unsqueeze(0), 0.0);
  routing.chosen = one_hot(c.first, there, experts).sum(0);
  return routing;
}

at::Tensor task_balance(const at::Tensor& logits) {
  check_logits(logits, 2, "moe::task_balance");
  const Choices c = choose(logits);
  const int64_t tasks = logits.size(0), experts = logits.size(1);
  const at::Tensor all = at::ones({tasks}, logits.options().dtype(at::kBool));
  const at::Tensor share =
      one_hot(c.first, all, experts).sum(0).to(logits.scalar_type()) / static_cast<double>(tasks);
  return (share * c.probabilities.mean(0)).sum() / static_cast<double>(experts);
}

}  // namespace lexel::moe
