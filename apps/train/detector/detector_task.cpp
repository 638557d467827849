#include "apps/train/detector/detector_task.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>
#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "apps/data/compose/colours.h"
#include "apps/data/compose/composer.h"
#include "apps/eval/detector/detector_file.h"
#include "apps/eval/detector/judge.h"
#include "apps/train/detector/decoded_scenes.h"
#include "apps/train/detector/detector_loss.h"
#include "apps/train/detector/recipe.h"
#include "apps/train/recipe_fields.h"
#include "kernels/check.h"
#include "kernels/device.h"
#include "kernels/philox.h"
#include "tokenizers/io/model_file.h"
#include "tokenizers/load.h"

namespace lexel::train {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kKind = "detector";
constexpr int64_t kDecodedNumbers = int64_t{1} << 40;  // scenes from here on are for decoding
constexpr int64_t kSamples = 16;                       // pictures in the report
constexpr const char* kLicense =
    "Apache-2.0 as far as Lexel holds rights; learned from emoji drawings under Apache-2.0 (Noto) "
    "and "
    "CC-BY-SA-4.0 (EmojiOne), before photographs under GPL-2+, LGPL and CC-BY-SA";

std::vector<std::string> names_of(const std::vector<data::Colour>& colours) {
  std::vector<std::string> names;
  for (const data::Colour& colour : colours) names.emplace_back(colour.name);
  return names;
}

eval::DetectorConfig config_of(const DetectorRecipe& recipe,
                               const std::vector<data::SpriteThing>& things) {
  eval::DetectorConfig config;
  config.image_size = recipe.paste.canvas;
  config.fine_width = recipe.fine_width;
  config.middle_width = recipe.middle_width;
  config.coarse_width = recipe.coarse_width;
  config.fine_blocks = recipe.fine_blocks;
  config.middle_blocks = recipe.middle_blocks;
  config.coarse_blocks = recipe.coarse_blocks;
  config.hidden = recipe.hidden;
  std::vector<std::string> names;
  for (const data::SpriteThing& thing : things) names.push_back(thing.name);
  config.things = eval::join_names(names);
  config.colours = eval::join_names(names_of(data::thing_colours()));
  std::vector<std::string> backgrounds = names_of(data::background_colours());
  backgrounds.emplace_back("photo");
  config.backgrounds = eval::join_names(backgrounds);
  return config;
}

/// "2 cat, dog on blue": what was seen, for the report.
std::string words_of(const eval::Sight& sight) {
  std::map<std::string, int> counts;
  for (const eval::FoundThing& thing : sight.things) ++counts[thing.name];
  std::string words;
  for (const auto& [name, count] : counts) {
    words += (words.empty() ? "" : ", ") + (count > 1 ? std::to_string(count) + " " : "") + name;
  }
  if (!sight.backgrounds.empty()) words += " on";
  for (const std::string& name : sight.backgrounds) words += " " + name;
  return words;
}

class DetectorTask : public Task {
 public:
  DetectorTask(const DetectorRecipe& recipe, const DetectorData& data, const std::string& device)
      : recipe_(recipe),
        device_(resolve_device(device)),
        tokenizer_(load_image_tokenizer(data.tokenizer, device)),
        pasted_(data.sprites, data.backgrounds, static_cast<uint64_t>(recipe.schedule.seed),
                recipe.paste),
        decoded_(pasted_, *tokenizer_, kDecodedNumbers),
        composer_(data.sprites, data.backgrounds, static_cast<uint64_t>(recipe.schedule.seed),
                  {.canvas = recipe.paste.canvas}),
        detector_(eval::make_detector(config_of(recipe, pasted_.things()),
                                      static_cast<uint64_t>(recipe.schedule.seed), device_)) {
    check(tokenizer_->info().image_size == recipe.paste.canvas, ErrorKind::kUsage, data.tokenizer,
          ": expected a tokenizer of pictures of ", recipe.paste.canvas, " pixels, got ",
          tokenizer_->info().image_size);
  }

  std::string kind() const override { return kKind; }
  std::string recipe() const override { return recipe_fields::write(recipe_); }
  const TaskSchedule& schedule() const override { return recipe_.schedule; }
  ParameterList parameters() override { return eval::parameters(detector_); }
  double waited_s() const override { return waited_s_; }

  TaskLoss loss(int64_t number, double /*progress*/) override {
    const auto begin = Clock::now();
    std::vector<data::Truth> truths;
    const at::Tensor pictures = batch(number, truths).to(device_);
    DetectorTargets targets = targets_of(truths, detector_.config);
    for (at::Tensor* tensor : {&targets.heat, &targets.things, &targets.colours, &targets.side,
                               &targets.weight, &targets.tinted, &targets.background})
      *tensor = tensor->to(device_);
    waited_s_ += std::chrono::duration<double>(Clock::now() - begin).count();
    const DetectorLoss loss = detector_loss(eval::detect(detector_, pictures), targets);
    return {loss.total(),
            {{"centre", loss.centre.detach()},
             {"thing", loss.thing.detach()},
             {"colour", loss.colour.detach()},
             {"side", loss.side.detach()},
             {"background", loss.background.detach()}}};
  }

  TaskEvaluation evaluate(int64_t /*step*/) override {
    load_evaluation_scenes();
    const at::NoGradGuard no_gradient;
    // One pass over the net; thresholds are tried on its maps.
    std::vector<eval::DetectorMaps> maps;
    for (const at::Tensor& pictures : {composed_pictures_, decoded_pictures_})
      maps.push_back(eval::detect(detector_, pictures.to(device_)));
    double best = -1;
    for (int percent = 15; percent <= 70; percent += 5) {
      const double threshold = percent / 100.0;
      const double all = (share(maps[0], threshold, eval::Claim::kAll) +
                          share(maps[1], threshold, eval::Claim::kAll)) /
                         2;
      if (all <= best) continue;
      best = all;
      detector_.config.threshold = threshold;
    }
    TaskEvaluation result;
    result.score = best;
    result.metrics["threshold"] = detector_.config.threshold;
    for (size_t i = 0; i < eval::kClaims; ++i) {
      const auto claim = static_cast<eval::Claim>(i);
      const std::string name = eval::name_of(claim);
      result.metrics[name + ", composed"] = share(maps[0], detector_.config.threshold, claim);
      result.metrics[name + ", decoded"] = share(maps[1], detector_.config.threshold, claim);
    }
    const int64_t shown = std::min(kSamples, decoded_pictures_.size(0));
    result.samples = decoded_pictures_.narrow(0, 0, shown);
    for (const eval::Sight& sight : eval::look(detector_, result.samples.to(device_)))
      result.captions.push_back(words_of(sight));
    return result;
  }

  void write_model(const std::string& path, const std::string& provenance) override {
    write_model_file(path, eval::detector_file(detector_, at::kBFloat16, provenance, kLicense));
  }

  std::string data_provenance() const override {
    return nlohmann::ordered_json{{"fingerprint", composer_.fingerprint()},
                                  {"things", composer_.things().size()},
                                  {"picture tokenizer", tokenizer_->info().name},
                                  {"codebook fingerprint", tokenizer_->info().codebook_fingerprint}}
        .dump();
  }

 private:
  /// Fresh scenes, then decoded ones. (B, 3, S, S) float32
  at::Tensor batch(int64_t number, std::vector<data::Truth>& truths) {
    const int64_t size = recipe_.schedule.batch;
    const auto decoded = std::llround(recipe_.decoded * static_cast<double>(size));
    const auto seed = static_cast<uint64_t>(recipe_.schedule.seed);
    Philox random(seed, "detector batch", static_cast<uint64_t>(number));
    std::vector<at::Tensor> pictures;
    for (int64_t i = 0; i < size - decoded; ++i) {
      data::Scene scene = pasted_.scene(number * size + i);
      pictures.push_back(to_tensor(scene.picture));
      truths.push_back(std::move(scene.truth));
    }
    if (decoded > 0) {
      const int64_t end = recipe_.decoded_first + number * recipe_.decoded_fresh;
      const int64_t begin = std::max<int64_t>(0, end - recipe_.decoded_window);
      decoded_.hold(begin, end);
      for (int64_t i = 0; i < decoded; ++i) {
        const auto any = random.uniform_int(static_cast<uint64_t>(end - begin));
        const DecodedScenes::Picture& picture = decoded_.at(begin + static_cast<int64_t>(any));
        pictures.push_back(picture.pixels.to(at::kFloat).div(255));
        truths.push_back(picture.truth);
      }
    }
    for (at::Tensor& picture : pictures) {
      const double gain = 1 + recipe_.gain * (2 * random.uniform() - 1);
      const double offset = recipe_.offset * (2 * random.uniform() - 1);
      picture = picture.sub(0.5).mul(gain).add(0.5 + offset).clamp(0, 1);
    }
    return at::stack(pictures);
  }

  void load_evaluation_scenes() {
    if (composed_pictures_.defined()) return;
    std::vector<at::Tensor> pictures;
    for (int64_t i = 0; i < recipe_.eval_scenes; ++i) {
      data::Scene scene = composer_.scene(i, data::Split::kTrain);
      pictures.push_back(to_tensor(scene.picture));
      // Everything is judged, whatever the caption says.
      scene.truth.wording.size = scene.truth.wording.colour = scene.truth.wording.background = true;
      evaluation_truths_.push_back(std::move(scene.truth));
    }
    composed_pictures_ = at::stack(pictures);
    decoded_pictures_ = decoded(*tokenizer_, composed_pictures_);
  }

  double share(const eval::DetectorMaps& maps, double threshold, eval::Claim claim) const {
    const auto sights = eval::read_maps(maps, detector_.config, threshold);
    std::vector<eval::Verdict> verdicts;
    for (size_t i = 0; i < sights.size(); ++i)
      verdicts.push_back(eval::judge(evaluation_truths_[i], sights[i], composer_.config().sizes));
    const eval::Tally tally = eval::tally(verdicts)[static_cast<size_t>(claim)];
    return tally.made == 0 ? 0 : static_cast<double>(tally.held) / static_cast<double>(tally.made);
  }

  DetectorRecipe recipe_;
  at::Device device_;
  std::unique_ptr<ImageTokenizer> tokenizer_;
  PastedScenes pasted_;
  DecodedScenes decoded_;
  data::Composer composer_;
  eval::Detector detector_;
  std::vector<data::Truth> evaluation_truths_;
  at::Tensor composed_pictures_, decoded_pictures_;  // (n, 3, S, S) float32
  double waited_s_ = 0;
};

}  // namespace

std::unique_ptr<Task> make_detector_task(const std::string& recipe_json, const DetectorData& data,
                                         const std::string& device) {
  return std::make_unique<DetectorTask>(recipe_fields::parse<DetectorRecipe>(recipe_json, "recipe"),
                                        data, device);
}

}  // namespace lexel::train
