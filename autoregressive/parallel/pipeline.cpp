#include "autoregressive/parallel/pipeline.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <algorithm>
#include <map>
#include <torch/csrc/autograd/autograd.h>
#include <utility>

#include "autoregressive/layer_runner.h"
#include "autoregressive/parallel/mail.h"
#include "kernels/check.h"

namespace lexel::parallel {
namespace {

using Pair = std::pair<int64_t, int64_t>;  // micro-batch, chunk

/// A chunk's forward pass until its backward pass comes.
struct Kept {
  at::Tensor input;      // a leaf; undefined in a stack's first chunk
  at::Tensor output;     // with the graph that made it; undefined: to be computed again
  at::Tensor auxiliary;  // with its graph: of the chunk's experts; undefined: none
};

/// What a chunk gives.
struct Computed {
  at::Tensor output;
  ar::ExpertRecord experts;
};

/// A micro-batch's encoded text on this rank.
struct Text {
  at::Tensor output;      // a leaf
  int64_t uses_left = 0;  // by chunks of this rank, of this direction
};

// A message is waited for when its reader should be so many clocks past it: early enough that memory does not grow with the
// number of micro-batches, late enough that no rank stands still because another is a little behind.
constexpr int64_t kSlackClocks = 4;

}  // namespace

/// One pass over all micro-batches on one rank.
///
/// No rank can wait for ever: messages are sent without waiting, and a rank waits, at clock t, only for what others do at
/// clocks before t.
class Pipeline::Pass {
 public:
  Pass(Pipeline& pipeline, const ar::Model& model, std::span<const MicroBatch> parts, bool train)
      : pipeline_(pipeline),
        group_(pipeline.group_),
        model_(model),
        parts_(parts),
        train_(train),
        letters_(pipeline.letters_),
        encoder_(letters_.route(Stack::kEncoder)),
        decoder_(letters_.route(Stack::kDecoder)),
        with_text_(pipeline.config_.text_depth > 0),
        mail_(group_, letters_, train, [this](const Letter& letter) { return room(letter); }) {
    for (const MicroBatch& part : parts) {
      pieces_.push_back(ar::pieces_of(model.config, part.lesson.condition, part.options));
    }
    losses_ =
        at::zeros({std::ssize(parts)},
                  parts[0].lesson.tokens.options().dtype(ar::residual_type(parts[0].options)));
    auxiliary_ = at::zeros_like(losses_);
    own_chunks_ =
        std::ranges::count_if(decoder_.chunks, [&](int64_t chunk) { return mine(chunk); });
    for (const PipelineAction& a : pipeline.schedule_.actions) {
      if (a.stage == group_.rank() && (train || !a.backward) && route(a.stack).has(a.chunk)) {
        actions_.push_back(a);
      }
    }
  }

  at::Tensor run() {
    if (!actions_.empty()) expect_inputs(actions_[0]);
    for (next_ = 1; next_ <= actions_.size(); ++next_) {
      // The next action's inputs travel while this one is computed.
      const PipelineAction& action = actions_[next_ - 1];
      if (next_ < actions_.size()) expect_inputs(actions_[next_]);
      mail_.finish_sends(action.clock - kSlackClocks);
      action.backward ? backward(action) : forward(action);
    }
    mail_.finish_sends();
    group_.broadcast(losses_, letters_.rank_of(decoder_.last()));
    tell_auxiliary();
    return losses_;
  }

 private:
  // --- who and what ----------------------------------------------------------------------------

  const Route& route(Stack stack) const { return letters_.route(stack); }
  Moment now() const { return moment_of(losses_.device()); }
  bool mine(int64_t chunk) const { return letters_.rank_of(chunk) == group_.rank(); }
  const MicroBatch& part(int64_t m) const { return parts_[static_cast<size_t>(m)]; }
  const ar::Pieces& pieces(int64_t m) const { return pieces_[static_cast<size_t>(m)]; }
  const BlockRange& blocks(const PipelineAction& a) const {
    return pipeline_.plan_.stages[static_cast<size_t>(a.chunk)].*route(a.stack).blocks;
  }
  /// An empty tensor like a stack's stream, or like the encoder's output.
  at::Tensor empty_stream(Stack stack, int64_t m) const {
    const auto& [lesson, options] = part(m);
    int64_t tokens = stack == Stack::kEncoder ? pieces(m).text.size(1) : ar::place_count(lesson);
    const int64_t rows = lesson.tokens.size(0), width = model_.config.width;
    if (options.runner != nullptr) {  // a rank may hold a part of the tokens
      const at::NoGradGuard no_grad;
      const at::Tensor whole =
          at::empty({rows, tokens, 1}, lesson.tokens.options().dtype(ar::residual_type(options)));
      const char* const name = stack == Stack::kEncoder ? "encoder" : "decoder";
      tokens = options.runner->enter(whole, name).size(1);
    }
    return at::empty({rows, tokens, width},
                     lesson.tokens.options().dtype(ar::residual_type(options)));
  }
  at::Tensor empty_text(int64_t m) const {
    const auto& [lesson, options] = part(m);
    return at::empty({lesson.tokens.size(0), pieces(m).text.size(1), model_.config.width},
                     lesson.tokens.options().dtype(options.compute));
  }

  // --- letters ---------------------------------------------------------------------------------

  at::Tensor room(const Letter& letter) const {
    const bool text = letter.cargo == Cargo::kText || letter.cargo == Cargo::kTextGradient;
    return text ? empty_text(letter.micro_batch) : empty_stream(letter.stack, letter.micro_batch);
  }

  /// Asks for what an action needs of other ranks.
  void expect_inputs(const PipelineAction& a) {
    for (const Letter& letter : letters_.read_by(a)) mail_.expect(letter);
  }

  // --- computing -------------------------------------------------------------------------------

  Computed compute(const PipelineAction& a, const at::Tensor& input) const {
    Computed result;
    ar::ForwardOptions options = part(a.micro_batch).options;
    if (options.experts != nullptr) options.experts = &result.experts;
    result.output = compute(a, input, options);
    return result;
  }

  at::Tensor compute(const PipelineAction& a, const at::Tensor& input,
                     const ar::ForwardOptions& options) const {
    const int64_t m = a.micro_batch;
    const ar::Lesson& lesson = part(m).lesson;
    const at::Tensor& tasks = lesson.condition.tasks;
    const Route& way = route(a.stack);
    const bool first = a.chunk == way.first(), last = a.chunk == way.last();
    const auto [begin, end] = blocks(a);
    if (a.stack == Stack::kEncoder) {
      const auto& [text, keys] = pieces(m);
      at::Tensor x = first ? ar::encoder_input(model_, text, options) : input;
      x = ar::run_encoder(model_, keys, x, begin, end, options, tasks);
      return last ? ar::encoder_output(model_, x, text.size(1), options) : x;
    }
    ar::EncodedText text;
    if (with_text_) text = {texts_.at(m).output, pieces(m).keys};
    at::Tensor x = first ? ar::decoder_input(model_, lesson, options) : input;
    x = ar::run_decoder(model_, text, x, ar::place_count(lesson), begin, end, options, tasks);
    if (!last) return x;
    return ar::lesson_loss(model_, lesson, ar::decoder_output(model_, x, options), options);
  }

  void forward(const PipelineAction& a) {
    const Route& way = route(a.stack);
    const int64_t m = a.micro_batch;
    PipelineEvent event{a, now(), {}, {}};
    at::Tensor input;
    for (const Letter& letter : letters_.read_by(a)) {
      const at::Tensor content = mail_.take(letter);
      if (letter.cargo == Cargo::kText) {
        set_text(m, content);
      } else {
        input = content;
        input.requires_grad_(train_);
      }
    }
    event.begin = now();

    const bool backward_is_next =
        next_ < actions_.size() && actions_[next_].backward && actions_[next_].stack == a.stack &&
        actions_[next_].micro_batch == m && actions_[next_].chunk == a.chunk;
    const bool with_graph = train_ && (!pipeline_.plan_.rematerialize || backward_is_next);
    Computed computed;
    {
      const at::AutoGradMode mode(with_graph);
      computed = compute(a, input);
    }
    const at::Tensor& output = computed.output;
    event.end = now();
    pipeline_.events_.push_back(event);
    if (train_) {
      Kept& chunk = kept(a.stack)[Pair(m, a.chunk)];
      chunk.input = input;
      if (with_graph) {
        chunk.output = output;
        chunk.auxiliary = computed.experts.auxiliary;
      }
      count_live(a.stack, 0);
    }
    record(m, computed.experts);

    for (const Letter& letter : letters_.written_by(a)) mail_.send(letter, output);
    if (a.chunk == way.last()) {
      if (a.stack == Stack::kEncoder) {
        set_text(m, output.detach());
      } else {
        losses_[m].copy_(output.detach());
      }
    }
    if (!train_ && a.stack == Stack::kDecoder && with_text_) drop_text_after_last_use(m);
  }

  void backward(const PipelineAction& a) {
    const Route& way = route(a.stack);
    const int64_t m = a.micro_batch;
    PipelineEvent event{a, now(), {}, {}};
    at::Tensor grad;
    if (a.chunk == way.last()) {
      grad =
          a.stack == Stack::kEncoder ? text_gradient(m) : at::full({}, share(), losses_.options());
    }
    for (const Letter& letter : letters_.read_by(a)) {
      const at::Tensor content = mail_.take(letter);
      grad = grad.defined() ? grad.add_(content) : content;  // texts' readers each add theirs
    }
    if (a.chunk == way.last() && a.stack == Stack::kEncoder) texts_.erase(m);
    event.begin = now();

    Kept chunk = std::move(kept(a.stack).extract(Pair(m, a.chunk)).mapped());
    if (!chunk.output.defined()) {
      const at::AutoGradMode graph(true);
      Computed again = compute(a, chunk.input);
      chunk.output = again.output;
      chunk.auxiliary = again.experts.auxiliary;
      count_live(a.stack, 1);
    }
    std::vector<at::Tensor> results, grads;
    const auto add = [&](const at::Tensor& result, const at::Tensor& its_grad) {
      if (!result.requires_grad()) return;  // all before it is frozen
      results.push_back(result);
      grads.push_back(its_grad);
    };
    add(chunk.output, grad);
    if (chunk.auxiliary.defined()) {
      add(chunk.auxiliary,
          at::full({}, pipeline_.config_.auxiliary_weight * share(), chunk.auxiliary.options()));
    }
    if (!results.empty()) torch::autograd::backward(results, grads);
    event.end = now();
    pipeline_.events_.push_back(event);

    for (const Letter& letter : letters_.written_by(a)) {
      mail_.send(letter, letter.cargo == Cargo::kTextGradient ? text_gradient(m)
                                                              : gradient_of(chunk.input));
    }
    if (a.stack == Stack::kDecoder && with_text_ && !mine(encoder_.last())) {
      drop_text_after_last_use(m);
    }
  }

  /// Of a micro-batch's loss in the mean.
  double share() const { return 1.0 / static_cast<double>(parts_.size()); }

  static at::Tensor gradient_of(const at::Tensor& leaf) {
    return leaf.grad().defined() ? leaf.grad() : at::zeros_like(leaf);
  }

  // --- texts -----------------------------------------------------------------------------------

  void set_text(int64_t m, const at::Tensor& output) {
    texts_[m] = {output.requires_grad_(train_), own_chunks_};
  }

  at::Tensor text_gradient(int64_t m) const { return gradient_of(texts_.at(m).output); }

  void drop_text_after_last_use(int64_t m) {
    if (--texts_.at(m).uses_left == 0) texts_.erase(m);
  }

  // --- experts ---------------------------------------------------------------------------------

  void record(int64_t m, const ar::ExpertRecord& experts) {
    if (!experts.auxiliary.defined()) return;
    auxiliary_[m] += experts.auxiliary.detach();
    for (const at::Tensor& chosen : experts.chosen) {
      part(m).options.experts->chosen.push_back(chosen);
    }
  }

  void tell_auxiliary() {
    const auto has_record = [](const MicroBatch& p) { return p.options.experts != nullptr; };
    if (std::ranges::none_of(parts_, has_record)) return;
    group_.all_reduce(auxiliary_);
    for (int64_t m = 0; m < std::ssize(parts_); ++m) {
      if (!has_record(part(m))) continue;
      at::Tensor& sum = part(m).options.experts->auxiliary;
      sum = sum.defined() ? sum + auxiliary_[m] : auxiliary_[m].clone();
    }
  }

  // --- what is kept ----------------------------------------------------------------------------

  std::map<Pair, Kept>& kept(Stack stack) {
    return stack == Stack::kEncoder ? encoder_kept_ : decoder_kept_;
  }

  /// `apart`: pairs that have just been taken out, with their graph.
  void count_live(Stack stack, int64_t apart) {
    LiveActivations& peak =
        stack == Stack::kEncoder ? pipeline_.encoder_live_ : pipeline_.decoder_live_;
    const auto& all = kept(stack);
    const auto graphs =
        std::ranges::count_if(all, [](const auto& k) { return k.second.output.defined(); });
    peak.pairs = std::max<int64_t>(peak.pairs, std::ssize(all) + apart);
    peak.graphs = std::max<int64_t>(peak.graphs, graphs + apart);
  }

  Pipeline& pipeline_;
  Group& group_;
  const ar::Model& model_;
  std::span<const MicroBatch> parts_;
  bool train_;
  const Letters& letters_;
  const Route& encoder_;
  const Route& decoder_;
  bool with_text_;
  int64_t own_chunks_ = 0;  // of the decoder
  std::vector<ar::Pieces> pieces_;
  std::vector<PipelineAction> actions_;  // of this rank
  size_t next_ = 0;

  std::map<Pair, Kept> encoder_kept_, decoder_kept_;
  std::map<int64_t, Text> texts_;  // by micro-batch
  Mail mail_;
  at::Tensor losses_, auxiliary_;  // (M)
};

std::vector<MicroBatch> micro_batches(const ar::Lesson& batch, int64_t count,
                                      const ar::ForwardOptions& options) {
  const int64_t rows = batch.tokens.size(0);
  check_arg(count >= 1 && rows % count == 0, "micro_batches", "expected ", rows,
            " rows to divide into micro-batches, got ", count);
  const int64_t each = rows / count;
  ar::ForwardOptions part = options;
  if (batch.condition.lengths.defined() && rows > 0) {
    part.text_tokens = std::max(part.text_tokens, batch.condition.lengths.max().item<int64_t>());
  }
  std::vector<MicroBatch> parts;
  for (int64_t i = 0; i < count; ++i) {
    parts.push_back({ar::rows_of(batch, i * each, each), part});
    part.first_row += each;
  }
  return parts;
}

void add_to(Timeline& timeline, const std::vector<PipelineEvent>& events) {
  for (const PipelineEvent& event : events) {
    const PipelineAction& a = event.action;
    const char* const direction = a.backward ? "backward" : "forward";
    const std::string name = concat(a.stack == Stack::kEncoder ? "encoder " : "decoder ", direction,
                                    " ", a.micro_batch, " chunk ", a.chunk);
    timeline.add("wait for " + name, "wait", 0, event.wait, event.begin);
    timeline.add(name, direction, 0, event.begin, event.end);
  }
}

namespace {

PipelineSchedule schedule_of(const Plan& plan, const ar::Config& config, int64_t ranks) {
  check_plan(plan, config);
  check_arg(ranks == plan.mesh.length("pipeline"), "Pipeline", "expected ",
            plan.mesh.length("pipeline"), " ranks along axis pipeline, got ", ranks);
  const PipelineSchedule decoder =
      make_schedule(parse_schedule(plan.schedule), {ranks, plan.micro_batches, plan.rounds});
  return config.text_depth > 0 ? with_encoder(decoder) : decoder;
}

}  // namespace

Pipeline::Pipeline(Group& group, const ar::Config& config, const Plan& plan)
    : group_(group),
      config_(config),
      plan_(plan),
      schedule_(schedule_of(plan, config, group.size())),
      letters_(schedule_, plan, config.text_depth > 0) {
  for (const auto& [low, high] : letters_.pairs()) {
    if (group.rank() == low) group.connect(high);
    if (group.rank() == high) group.connect(low);
  }
}

at::Tensor Pipeline::train(const ar::Model& model, std::span<const MicroBatch> parts) {
  return pass(model, parts, /*train=*/true, "Pipeline::train");
}

at::Tensor Pipeline::evaluate(const ar::Model& model, std::span<const MicroBatch> parts) {
  return pass(model, parts, /*train=*/false, "Pipeline::evaluate");
}

at::Tensor Pipeline::pass(const ar::Model& model, std::span<const MicroBatch> parts, bool train,
                          const char* function) {
  check_arg(std::ssize(parts) == plan_.micro_batches, function, "expected ", plan_.micro_batches,
            " micro-batches, got ", parts.size());
  for (const MicroBatch& part : parts) {
    ar::check_lesson(config_, part.lesson, part.options, function);
  }
  events_.clear();
  encoder_live_ = decoder_live_ = {};
  return Pass(*this, model, parts, train).run();
}

}  // namespace lexel::parallel
