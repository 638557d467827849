#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "apps/train/generator/batches.h"
#include "apps/train/generator/parted_generator.h"
#include "apps/train/generator/recipe.h"
#include "apps/train/generator/text_pretraining.h"
#include "apps/train/schedule.h"
#include "apps/train/task.h"
#include "autoregressive/generator_file.h"
#include "autoregressive/model.h"

namespace lexel::train {

/// Pictures from captions (Parti) or classes (VIM), learnt by the cross entropy of each token given those before it.
class GeneratorTask : public Task {
 public:
  struct Options {
    at::Device device = at::kCPU;
    int64_t workers = 1;
    std::string cache;
    ar::Stored stored = ar::Stored::kInt8;
    std::string
        from;  // provenance (JSON object) of the model that the run started with: becomes part of its own; or empty
    parallel::Mesh* mesh = nullptr;      // the ranks that train together; null: this one alone
    std::optional<parallel::Plan> plan;  // how the model lies on them; none: whole on each
  };

  /// data     outlives the task; its config is the recipe's model
  /// codes    of the tokenizer, where the recipe starts with them
  /// from     a model of the recipe's sizes whose weights the run starts with, in the place of fresh ones; none of its tensors
  ///          outlives the call where nobody else has it
  /// throws   Error(kUsage) a model that is not of the tokenizer's size; what the sources throw
  GeneratorTask(const GeneratorRecipe& recipe, const GeneratorData& data, const Options& options,
                const at::Tensor& codes, std::optional<ar::Model> from = std::nullopt);

  std::string kind() const override { return "generator"; }
  std::string recipe() const override;
  const TaskSchedule& schedule() const override { return recipe_.schedule; }
  std::optional<PlaceOfTensor> place_of(const std::string& name) const override;
  bool pipelined() const override {
    return parted_ && (parted_->pipelined() || parted_->exchange() != nullptr);
  }
  std::vector<TaskLoss> train_step(const std::vector<int64_t>& numbers, double progress) override;
  ParameterList parameters() override;  // with the head of text pre-training, where there is one
  void share_batches(const BatchShare& share) override { share_ = share; }
  TaskLoss loss(int64_t number, double progress) override;
  TaskEvaluation evaluate(int64_t step) override;
  void write_model(const std::string& path, const std::string& provenance) override;
  std::string data_provenance() const override;
  double waited_s() const override { return batches_ ? batches_->waited_s() : 0.0; }

  void trace_to(std::shared_ptr<parallel::Timeline> timeline) override {
    timeline_ = std::move(timeline);
  }

  /// Writes the cache of tokens, where there is one and it has grown.
  void write_cache();

 private:
  /// Pictures that are never learnt.
  struct HeldOut {
    std::string source;
    std::vector<Sample> samples;  // with tokens
  };
  void read_held_out();
  /// Makes this rank's part of the model, tensor by tensor: no more than one is ever whole.
  void start_model(const at::Tensor& codes, std::optional<ar::Model> from);
  /// Mean nats per token of each sample of a part of a held-out set: (n) float64 on the CPU. All ranks of a model's parts call.
  at::Tensor nats_of(std::vector<Sample> samples);
  /// Draws the first held-out captions, or classes, always with the same seeds.
  void draw_samples(const ar::Model& model, TaskEvaluation& evaluation) const;
  ar::ForwardOptions forward_options() const;
  /// Batch `number` as it is learnt from: with its noise, on the device.
  parallel::MicroBatch pass_of(int64_t number, double progress, const TokenBatch& batch) const;
  TokenBatch next_batch(int64_t number);
  /// The model to draw from or to write, on rank 0, on `device`; the others' has no tensors.
  ar::Model whole_model(at::Device device);
  bool leads() const { return options_.mesh == nullptr || options_.mesh->world().rank == 0; }
  ar::Condition on_device(const ar::Condition& condition) const;
  /// The loss with that of its experts, and what the log says of them; as it is where the record holds none.
  TaskLoss with_experts(TaskLoss loss, const ar::ExpertRecord& record) const;
  void start_batches(int64_t first);
  /// Batches that pre-train the text encoder, before those of pictures.
  int64_t text_batches() const {
    return recipe_.pretrain_text_steps * recipe_.schedule.accumulation;
  }

  GeneratorRecipe recipe_;
  Curve noise_captions_, noise_most_, noise_blind_, places_;
  const GeneratorData& data_;
  Options options_;
  ar::Model model_;  // or this rank's part of it
  std::unique_ptr<PartedGenerator> parted_;
  BatchShare share_;
  MaskedHead masked_head_;  // recipe_.pretrain_text_steps > 0
  std::vector<HeldOut> held_out_;
  std::string held_out_fingerprint_;
  std::unique_ptr<TokenBatches> batches_;
  std::shared_ptr<parallel::Timeline> timeline_;  // or null
};

}  // namespace lexel::train
