#include "autoregressive/parallel/update_sharding.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <algorithm>
#include <numeric>
#include <torch/csrc/autograd/variable.h>

#include "kernels/check.h"

namespace lexel::parallel {
namespace {

/// A tensor's place in a bucket: values begin .. begin + length of it are at `at` of the flat buffer.
struct Placed {
  size_t tensor;
  int64_t at, begin, length;
};

struct Bucket {
  int64_t part = 0;            // values of one rank
  std::vector<Placed> placed;  // of all ranks, in the order of `at`
  std::vector<size_t> tensors;
  at::Tensor flat;     // (n * part): gradients on their way out, weights on their way back
  at::Tensor own;      // (part): this rank's sums, then its weights
  size_t missing = 0;  // tensors whose gradient is not there yet
  Pending sent;
  bool started = false;
};

/// Tensors behind each other, the flat buffer cut into equal parts.
std::vector<Bucket> cut_anywhere(const std::vector<at::Tensor>& weights, int64_t ranks,
                                 int64_t bucket_values) {
  std::vector<Bucket> buckets;
  int64_t filled = 0;
  for (size_t i = weights.size(); i-- > 0;) {
    if (buckets.empty() || filled >= bucket_values) {
      buckets.emplace_back();
      filled = 0;
    }
    Bucket& bucket = buckets.back();
    bucket.placed.push_back({i, filled, 0, weights[i].numel()});
    bucket.tensors.push_back(i);
    filled += weights[i].numel();
    bucket.part = (filled + ranks - 1) / ranks;
  }
  return buckets;
}

/// Tensors dealt to the rank that has least so far, the largest first; buckets take from all ranks' hands in turn.
std::vector<Bucket> deal_whole(const std::vector<at::Tensor>& weights, int64_t ranks,
                               int64_t bucket_values) {
  std::vector<size_t> order(weights.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return weights[a].numel() > weights[b].numel(); });
  std::vector<std::vector<size_t>> hands(static_cast<size_t>(ranks));
  std::vector<int64_t> sums(static_cast<size_t>(ranks), 0);
  for (const size_t i : order) {
    const size_t least =
        static_cast<size_t>(std::min_element(sums.begin(), sums.end()) - sums.begin());
    hands[least].push_back(i);
    sums[least] += weights[i].numel();
  }
  for (auto& hand : hands) std::sort(hand.rbegin(), hand.rend());  // the last tensor first
  std::vector<Bucket> buckets;
  std::vector<size_t> next(hands.size(), 0);
  const auto left = [&] {
    for (size_t r = 0; r < hands.size(); ++r)
      if (next[r] < hands[r].size()) return true;
    return false;
  };
  while (left()) {
    Bucket bucket;
    std::vector<std::vector<size_t>> taken(hands.size());
    for (size_t r = 0; r < hands.size(); ++r) {
      int64_t filled = 0;
      while (next[r] < hands[r].size() && (filled == 0 || filled < bucket_values / ranks)) {
        taken[r].push_back(hands[r][next[r]]);
        filled += weights[hands[r][next[r]++]].numel();
      }
      bucket.part = std::max(bucket.part, filled);
    }
    for (size_t r = 0; r < hands.size(); ++r) {
      int64_t at = static_cast<int64_t>(r) * bucket.part;
      for (const size_t i : taken[r]) {
        bucket.placed.push_back({i, at, 0, weights[i].numel()});
        bucket.tensors.push_back(i);
        at += weights[i].numel();
      }
    }
    buckets.push_back(std::move(bucket));
  }
  return buckets;
}

}  // namespace

struct UpdateSharding::State {
  std::vector<at::Tensor> weights;
  Group* group = nullptr;
  std::vector<Bucket> buckets;
  std::vector<size_t> bucket_of;   // by tensor
  std::vector<int64_t> at;         // by tensor: its place in its bucket's flat buffer
  std::vector<char> has_gradient;  // by tensor
  std::vector<Slice> slices;
  std::vector<std::pair<size_t, int64_t>> place;  // by slice: bucket, offset in `own`
  bool overlap = false;
  size_t next_bucket = 0;              // buckets are sent in their order, on all ranks alike
  std::shared_ptr<Timeline> timeline;  // or null

  bool alone() const { return group->alone(); }

  void arrived(size_t tensor) {
    has_gradient[tensor] = 1;
    if (!overlap) return;
    Bucket& bucket = buckets[bucket_of[tensor]];
    if (bucket.missing > 0) --bucket.missing;
    while (next_bucket < buckets.size() && buckets[next_bucket].missing == 0) send(next_bucket++);
  }

  void send(size_t number) {
    Bucket& bucket = buckets[number];
    const Moment begin = now();
    bucket.sent = group->reduce_scatter_async(bucket.own, bucket.flat);
    bucket.started = true;
    draw(bucket.sent, "reduce-scatter", number, begin);
  }

  Moment now() const { return timeline ? timeline->now() : Moment(); }

  void draw(Pending& pending, const char* what, size_t bucket, const Moment& begin) const {
    if (!timeline) return;
    pending.then([line = timeline, name = concat(what, " bucket ", bucket), what, begin] {
      line->add(name, what, 1, begin, line->now());
    });
  }
};

namespace {

/// Tells the sharding that a tensor's gradient of this pass is there.
struct Arrival : torch::autograd::PostAccumulateGradHook {
  explicit Arrival(std::function<void()> t) : tell(std::move(t)) {}
  void operator()(const torch::autograd::Variable&) override { tell(); }
  std::function<void()> tell;
};

}  // namespace

UpdateSharding::UpdateSharding(const std::vector<at::Tensor>& weights, Group& group, Cut cut,
                               int64_t bucket_bytes)
    : state_(std::make_shared<State>()) {
  State& s = *state_;
  s.weights = weights;
  s.group = &group;
  s.has_gradient.assign(weights.size(), 0);
  for (const at::Tensor& w : weights)
    check_arg(w.defined() && w.is_contiguous() && w.device() == weights[0].device() &&
                  w.scalar_type() == weights[0].scalar_type() && w.is_floating_point(),
              "UpdateSharding", "expected contiguous tensors of one dtype and device");
  if (group.alone()) {
    for (size_t i = 0; i < weights.size(); ++i) s.slices.push_back({i, 0, weights[i].numel()});
    return;
  }
  if (weights.empty()) return;
  const int64_t bucket_values = bucket_bytes / static_cast<int64_t>(weights[0].element_size());
  s.buckets = cut == Cut::kAnywhere ? cut_anywhere(weights, group.size(), bucket_values)
                                    : deal_whole(weights, group.size(), bucket_values);
  s.bucket_of.resize(weights.size());
  s.at.resize(weights.size());
  const auto options = weights[0].detach().options();
  for (size_t b = 0; b < s.buckets.size(); ++b) {
    Bucket& bucket = s.buckets[b];
    bucket.flat = at::zeros({group.size() * bucket.part}, options);
    bucket.own = at::empty({bucket.part}, options);
    const int64_t first = group.rank() * bucket.part, last = first + bucket.part;
    for (const Placed& p : bucket.placed) {
      s.bucket_of[p.tensor] = b;
      s.at[p.tensor] = p.at;
      const int64_t begin = std::max(p.at, first), end = std::min(p.at + p.length, last);
      if (begin >= end) continue;
      s.slices.push_back({p.tensor, begin - p.at, end - begin});
      s.place.emplace_back(b, begin - first);
    }
  }
  const std::weak_ptr<State> weak = state_;
  for (size_t i = 0; i < weights.size(); ++i) {
    torch::autograd::impl::set_post_acc_grad_hooks(weights[i], std::make_unique<Arrival>([weak, i] {
                                                     if (const auto state = weak.lock())
                                                       state->arrived(i);
                                                   }));
  }
}

UpdateSharding::~UpdateSharding() {
  if (state_->alone()) return;
  for (const at::Tensor& w : state_->weights)
    torch::autograd::impl::set_post_acc_grad_hooks(w, nullptr);
}

void UpdateSharding::trace_to(std::shared_ptr<Timeline> timeline) {
  state_->timeline = std::move(timeline);
}

const std::vector<Slice>& UpdateSharding::slices() const { return state_->slices; }

at::Tensor UpdateSharding::weights(size_t i) const {
  const Slice& slice = state_->slices.at(i);
  const at::Tensor whole = state_->weights[slice.tensor].detach();
  return slice.length == whole.numel() ? whole
                                       : whole.view({-1}).narrow(0, slice.begin, slice.length);
}

void UpdateSharding::zero_gradients() {
  State& s = *state_;
  const at::NoGradGuard no_grad;
  std::fill(s.has_gradient.begin(), s.has_gradient.end(), 0);
  if (s.alone()) {
    for (const at::Tensor& w : s.weights) w.mutable_grad() = at::Tensor();
    return;
  }
  for (Bucket& bucket : s.buckets) {
    bucket.flat.zero_();
    bucket.started = false;
    // Gradients are summed where they are sent from.
    for (const size_t i : bucket.tensors)
      s.weights[i].mutable_grad() =
          bucket.flat.narrow(0, s.at[i], s.weights[i].numel()).view(s.weights[i].sizes());
  }
  s.overlap = false;
  s.next_bucket = 0;
}

void UpdateSharding::overlap_next_backward() {
  State& s = *state_;
  if (s.alone()) return;
  for (Bucket& bucket : s.buckets) {
    bucket.missing = 0;
    for (const size_t i : bucket.tensors)
      if (s.weights[i].requires_grad()) ++bucket.missing;
  }
  s.overlap = true;
}

void UpdateSharding::reduce() {
  State& s = *state_;
  const at::NoGradGuard no_grad;
  if (s.alone()) {
    for (size_t i = 0; i < s.weights.size(); ++i) s.has_gradient[i] = s.weights[i].grad().defined();
    return;
  }
  s.overlap = false;
  for (; s.next_bucket < s.buckets.size(); ++s.next_bucket) s.send(s.next_bucket);
  for (Bucket& bucket : s.buckets) {
    bucket.sent.wait();
    bucket.own.div_(static_cast<double>(s.group->size()));
  }
}

at::Tensor UpdateSharding::gradient(size_t i) const {
  const State& s = *state_;
  const Slice& slice = s.slices.at(i);
  if (!s.has_gradient[slice.tensor]) return {};
  if (s.alone()) return s.weights[slice.tensor].grad();
  const auto [bucket, offset] = s.place[i];
  const at::Tensor part = s.buckets[bucket].own.narrow(0, offset, slice.length);
  return slice.length == s.weights[slice.tensor].numel()
             ? part.view(s.weights[slice.tensor].sizes())
             : part;
}

void UpdateSharding::share_weights() {
  State& s = *state_;
  if (s.alone()) return;
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < s.slices.size(); ++i) {
    const auto [bucket, offset] = s.place[i];
    s.buckets[bucket].own.narrow(0, offset, s.slices[i].length).copy_(weights(i).view({-1}));
  }
  for (size_t b = 0; b < s.buckets.size(); ++b) {
    Bucket& bucket = s.buckets[b];
    const Moment begin = s.now();
    bucket.sent = s.group->all_gather_async(bucket.flat, bucket.own);
    s.draw(bucket.sent, "all-gather", b, begin);
  }
  for (Bucket& bucket : s.buckets) {
    bucket.sent.wait();
    for (const Placed& p : bucket.placed)
      s.weights[p.tensor]
          .detach()
          .view({-1})
          .narrow(0, p.begin, p.length)
          .copy_(bucket.flat.narrow(0, p.at, p.length));
  }
}

}  // namespace lexel::parallel
