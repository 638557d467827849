#include "autoregressive/planner/planner.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "autoregressive/model.h"
#include "autoregressive/parallel/annotations.h"
#include "autoregressive/parallel/expert_parallel.h"
#include "autoregressive/planner/inter_operator.h"
#include "autoregressive/planner/intra_operator.h"
#include "kernels/check.h"

namespace lexel::planner {
namespace {

using parallel::Annotation;
using parallel::BlockRange;
using parallel::Plan;

constexpr double kInfinite = std::numeric_limits<double>::infinity();

std::vector<int64_t> divisors(int64_t n) {
  std::vector<int64_t> found;
  for (int64_t i = 1; i * i <= n; ++i) {
    if (n % i != 0) continue;
    found.push_back(i);
    if (i != n / i) found.push_back(n / i);
  }
  std::ranges::sort(found);
  return found;
}

/// One way to run the model; everything but the stages.
struct Candidate {
  int64_t data = 1, ranks = 1, expert = 1, tensor = 1, micro_batches = 1, rounds = 1;
  const char* schedule = "gpipe";
  bool rematerialize = false;
  const IntraLayouts* layouts = nullptr;
  double bound = 0;
};

class Search {
 public:
  Search(const Predictor& predictor, int64_t devices, const std::string& name)
      : predictor_(predictor), config_(predictor.graph().config), devices_(devices), name_(name) {
    fingerprint_ = parallel::model_fingerprint(config_);
    ar::Model layout = ar::model_layout(config_);
    weights_ = ar::parameters(layout);
  }

  PlanSearch run() {
    list_candidates();
    check_arg(!candidates_.empty(), "plan_model", "expected a batch that ", devices_,
              " devices can share, got ", predictor_.training().batch);
    std::ranges::stable_sort(candidates_, {}, &Candidate::bound);
    PlanSearch found;
    found.candidates = static_cast<int64_t>(candidates_.size());
    double best = kInfinite, least_memory = kInfinite;
    for (const Candidate& candidate : candidates_) {
      // Stages of other sizes than the bound's may be faster by a little.
      if (candidate.bound * (1 - 1e-3) >= best) break;
      bool counted = false;
      std::vector<parallel::Stage> tried;
      for (const bool even : {true, false}) {
        Plan plan = plan_of(candidate, even);
        if (plan.stages.empty() || plan.stages == tried) continue;
        tried = plan.stages;
        const double memory = predictor_.memory(plan);
        least_memory = std::min(least_memory, memory);
        if (memory > predictor_.machine().memory_bytes) continue;
        if (!counted) ++found.predicted;
        counted = true;
        plan.predicted = predictor_.predict(plan);
        if (plan.predicted.step_s >= best * (1 - 1e-9)) continue;
        best = plan.predicted.step_s;
        found.plan = plan;
      }
    }
    check_arg(std::isfinite(best), "plan_model", "expected devices of at least ",
              std::ceil(least_memory / 1e8) / 10, " GB for this model and batch on ", devices_,
              ", got ", predictor_.machine().memory_bytes / 1e9);
    price_block(found);
    return found;
  }

 private:
  void list_candidates() {
    const int64_t batch = predictor_.training().batch;
    for (const int64_t ranks : divisors(devices_)) {
      if (ranks > config_.depth) continue;
      for (const int64_t tensor : divisors(devices_ / ranks)) {
        if (config_.heads % tensor != 0) continue;
        for (const int64_t expert : divisors(devices_ / ranks / tensor)) {
          if (!shares_experts(expert)) continue;
          const int64_t data = devices_ / ranks / tensor / expert;
          if (batch % (data * expert) != 0) continue;
          for (const int64_t micro_batches : divisors(batch / (data * expert)))
            list_schedules({data, ranks, expert, tensor, micro_batches});
        }
      }
    }
  }

  bool shares_experts(int64_t ranks) const {
    if (ranks == 1) return true;
    return config_.experts > 0 && config_.routing != "static" && config_.experts % ranks == 0;
  }

  void list_schedules(Candidate candidate) {
    const int64_t pictures =
        predictor_.training().batch / candidate.data / candidate.expert / candidate.micro_batches;
    for (const IntraLayouts& layouts : layouts_of(candidate.tensor, pictures)) {
      candidate.layouts = &layouts;
      candidate.rounds = 1;
      for (const bool rematerialize : {false, true}) {
        candidate.rematerialize = rematerialize;
        candidate.rounds = 1;
        candidate.schedule = candidate.ranks == 1 ? "gpipe" : "1f1b";
        list(candidate);
        if (candidate.ranks == 1) continue;
        candidate.schedule = "gpipe";
        list(candidate);
        candidate.schedule = "circular";
        if (candidate.micro_batches % candidate.ranks != 0) continue;
        for (candidate.rounds = 2; candidate.rounds * candidate.ranks <= config_.depth;
             candidate.rounds *= 2)
          list(candidate);
      }
    }
  }

  void list(Candidate candidate) {
    candidate.bound = predictor_.lower_bound(plan_of(candidate, true));
    candidates_.push_back(candidate);
  }

  const std::vector<IntraLayouts>& layouts_of(int64_t tensor, int64_t pictures) {
    const auto key = std::pair(tensor, pictures);
    const auto found = layouts_.find(key);
    if (found != layouts_.end()) return found->second;
    std::vector<IntraLayouts>& all = layouts_[key];
    if (tensor == 1) {
      all.push_back({});
      return all;
    }
    const std::vector<Annotation> every = usable_annotations();
    for (const char* residual : {"replicate", "split"}) {
      all.push_back(intra_layouts(predictor_.graph(), predictor_.machine(), predictor_.training(),
                                  tensor, pictures, residual));
      // Where the program leaves a layer whole, the form that cuts all is a candidate beside it.
      if (all.back().cuts_all) {
        all.back().annotations = every;
      } else if (can_cut(every, tensor)) {
        all.push_back({every, residual, 0, true});
      }
    }
    return all;
  }

  /// parallel::tensor_annotations() that fit a weight of this model.
  std::vector<Annotation> usable_annotations() const {
    std::vector<Annotation> usable;
    for (const Annotation& annotation : parallel::tensor_annotations())
      if (std::ranges::any_of(weights_, [&](const Parameter& weight) {
            return parallel::fits(annotation.pattern, weight.name);
          }))
        usable.push_back(annotation);
    return usable;
  }

  bool can_cut(const std::vector<Annotation>& annotations, int64_t tensor) const {
    for (const Parameter& weight : weights_)
      for (const Annotation& annotation : annotations)
        if (parallel::fits(annotation.pattern, weight.name) &&
            weight.shape[static_cast<size_t>(annotation.placement.dim)] %
                    (annotation.placement.dim == 0
                         ? tensor * parallel::stacked_matrices(config_, weight.name)
                         : tensor) !=
                0)
          return false;
    return true;
  }

  Plan plan_of(const Candidate& candidate, bool even) const {
    Plan plan;
    plan.model = name_;
    plan.fingerprint = fingerprint_;
    for (const auto& [axis, length] : {std::pair<const char*, int64_t>{"data", candidate.data},
                                       {"pipeline", candidate.ranks},
                                       {"expert", candidate.expert},
                                       {"tensor", candidate.tensor}})
      if (length > 1) plan.mesh.axes.emplace_back(axis, length);
    plan.batch = predictor_.training().batch;
    plan.micro_batches = candidate.micro_batches;
    plan.schedule = candidate.schedule;
    plan.rounds = candidate.rounds;
    plan.rematerialize = candidate.rematerialize;
    plan.annotations = candidate.layouts->annotations;
    if (candidate.expert > 1)
      for (const Annotation& annotation : parallel::expert_annotations())
        plan.annotations.push_back(annotation);
    plan.residual = candidate.layouts->residual;
    plan.shard_update = candidate.data > 1;
    const int64_t chunks = candidate.ranks * candidate.rounds;
    std::vector<BlockRange> encoder(static_cast<size_t>(chunks)), decoder = encoder;
    for (int64_t i = 0; i < chunks; ++i) {
      const auto share = [](int64_t count, int64_t part, int64_t parts) {
        return BlockRange{count * part / parts, count * (part + 1) / parts};
      };
      decoder[static_cast<size_t>(i)] = share(config_.depth, i, chunks);
      encoder[static_cast<size_t>(i)] =
          share(config_.text_depth, std::min(i, candidate.ranks), candidate.ranks);
      if (i >= candidate.ranks)
        encoder[static_cast<size_t>(i)] = {config_.text_depth, config_.text_depth};
    }
    for (size_t i = 0; i < encoder.size(); ++i) plan.stages.push_back({encoder[i], decoder[i]});
    if (!even && candidate.ranks > 1) choose_stages(candidate, plan);
    return plan;
  }

  /// Stages by plan_stages; none where nothing fits.
  void choose_stages(const Candidate& candidate, Plan& plan) const {
    const ModelCost& costs = predictor_.costs(plan);
    const auto time_of = [&](const LayerCost& block) {
      return block.forward_s + block.backward_s + (plan.rematerialize ? block.again_s : 0);
    };
    const auto solve = [&](const std::vector<LayerCost>& blocks, int64_t stages, double room) {
      std::vector<double> time(1, 0), weights(1, 0), kept(1, 0);  // sums before each block
      for (const LayerCost& block : blocks) {
        time.push_back(time.back() + time_of(block));
        weights.push_back(weights.back() + block.weights);
        kept.push_back(kept.back() + block.kept);
      }
      InterProblem problem;
      problem.layers = static_cast<int64_t>(blocks.size());
      problem.devices = problem.stages = stages;
      problem.micro_batches = candidate.micro_batches;
      const double own = candidate.data > 1 ? 1.0 / static_cast<double>(candidate.data) : 1.0;
      const double weight_bytes =
          8 + own * (predictor_.training().state_bytes + predictor_.training().average_bytes);
      problem.time = [=, &candidate](int64_t first, int64_t end, size_t, int64_t behind) {
        const auto i = static_cast<size_t>(first), j = static_cast<size_t>(end);
        const int64_t live =
            candidate.rematerialize ? 1 : std::min(behind, candidate.micro_batches);
        const double held = (weights[j] - weights[i]) * weight_bytes +
                            (kept[j] - kept[i]) * static_cast<double>(live);
        return held > room ? kInfinite : time[j] - time[i];
      };
      return plan_stages(problem).stages;
    };
    // 1F1B's bound on live micro-batches is Alpa's; the other schedules are checked by Predictor::memory alone.
    const bool bounded = plan.schedule == std::string("1f1b");
    const double room = bounded ? predictor_.machine().memory_bytes : kInfinite;
    const auto chunks = static_cast<int64_t>(plan.stages.size());
    const auto decoder = solve(costs.decoder, chunks, room);
    if (decoder.empty()) return plan.stages.clear();
    for (size_t i = 0; i < decoder.size(); ++i)
      plan.stages[i].decoder = {decoder[i].first, decoder[i].end};
    if (config_.text_depth < candidate.ranks) return;
    const auto encoder = solve(costs.encoder, candidate.ranks, kInfinite);
    for (size_t i = 0; i < encoder.size(); ++i)
      plan.stages[i].encoder = {encoder[i].first, encoder[i].end};
  }

  /// The planned decoder block beside the best over all layouts.
  void price_block(PlanSearch& found) const {
    const LayerGraph& graph = predictor_.graph();
    const int64_t tensor = found.plan.mesh.length("tensor");
    const int64_t pictures =
        found.plan.batch / (found.plan.mesh.length("data") * found.plan.mesh.length("expert") *
                            found.plan.micro_batches);
    const Layer& block = graph.layers[usual_layer(graph, graph.decoder)];
    const Machine& machine = predictor_.machine();
    const Spec stream = found.plan.residual == "split" ? Spec{2, 0} : Spec{};
    Layouts layouts;
    layouts.element_bytes = predictor_.training().compute_bytes;
    layouts.weight_gradient_share = 1.0 / static_cast<double>(found.plan.micro_batches);
    layouts.replicated = layouts.scattered = true;
    const auto problem = sharding_problem(block, config_, pictures, machine.flops, stream);
    found.least_block_s = plan_operators(problem, tensor_mesh(machine, tensor), layouts).cost;
    layouts.executable = true;
    layouts.scattered = stream.rows != 0;
    found.block_s = plan_operators(problem, tensor_mesh(machine, tensor), layouts).cost;
  }

  const Predictor& predictor_;
  const ar::Config& config_;
  int64_t devices_;
  std::string name_, fingerprint_;
  ParameterList weights_;  // names and shapes
  std::vector<Candidate> candidates_;
  std::map<std::pair<int64_t, int64_t>, std::vector<IntraLayouts>> layouts_;  // by tensor, pictures
};

}  // namespace

PlanSearch plan_model(const Predictor& predictor, int64_t devices, const std::string& name) {
  check_arg(devices >= 1, "plan_model", "expected at least 1 device, got ", devices);
  return Search(predictor, devices, name).run();
}

}  // namespace lexel::planner
