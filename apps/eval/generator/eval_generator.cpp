#include <ATen/ops/cat.h>
#include <algorithm>
#include <filesystem>
#include <iostream>

#include "apps/eval/detector/detector_file.h"
#include "apps/eval/generator/artist.h"
#include "apps/eval/generator/gallery.h"
#include "apps/eval/generator/likelihood.h"
#include "apps/eval/generator/options.h"
#include "apps/eval/generator/prompts.h"
#include "apps/eval/generator/report.h"
#include "apps/progress.h"
#include "apps/spool.h"
#include "kernels/check.h"
#include "kernels/device.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/contact_sheet.h"
#include "tokenizers/io/torch_checkpoint.h"
#include "vqgan/perceptual.h"

namespace lexel::cli {
namespace {

using eval::Json;

constexpr int64_t kSheetSeeds = 4;
// Pictures of a forward pass: constants, so that --batch, which says how many are drawn together, changes no number.
constexpr int64_t kFeaturePictures = 32, kLikelihoodPictures = 8;

ar::GenerateOptions sampling_of(const EvalGeneratorOptions& options) {
  ar::GenerateOptions sampling;
  sampling.guidance = options.guidance;
  sampling.schedule = options.schedule;
  sampling.temperature = options.temperature;
  sampling.top_k = options.top_k;
  sampling.top_p = options.top_p;
  sampling.seed = options.seed;
  return sampling;
}

Json sampling_report(const EvalGeneratorOptions& options) {
  return {{"guidance", options.guidance},
          {"schedule", options.schedule},
          {"temperature", options.temperature},
          {"top-k", options.top_k},
          {"top-p", options.top_p},
          {"seed", options.seed},
          {"candidates", options.rerank}};
}

/// One evaluation: what is loaded once, and what was found so far.
class Evaluation {
 public:
  explicit Evaluation(const EvalGeneratorOptions& options)
      : options_(options),
        split_(options.split == "train" ? data::Split::kTrain : data::Split::kHeldOut),
        artist_(
            options.model, options.tokenizer, options.scorer, options.device,
            {.sampling = sampling_of(options), .batch = options.batch, .rerank = options.rerank}),
        detector_file_(read_model_file(options.detector)),
        detector_(
            eval::read_detector(detector_file_, options.detector, resolve_device(options.device))),
        composer_(
            options.sprites, options.backgrounds, options.scene_seed,
            eval::scenes_of_training(read_model_file_summary(options.model).file, options.model,
                                     artist_.model().tokenizer().info().image_size)),
        set_(eval::compose_set(composer_, split_, options.first, options.scenes)) {
    check(detector_.config.image_size == composer_.config().canvas, ErrorKind::kUsage,
          options.detector, ": expected a detector for pictures of ", composer_.config().canvas,
          " pixels, got ", detector_.config.image_size);
    const std::vector<std::string> known = eval::split_names(detector_.config.things);
    for (const data::SpriteThing& thing : composer_.things()) {
      check(std::ranges::count(known, thing.name) == 1, ErrorKind::kUsage, options.detector,
            ": the detector does not know \"", thing.name, "\", which ", options.sprites, " has");
    }
    if (!options.perceptual.empty())
      net_ = vqgan::make_perceptual_net(read_torch_checkpoint(options.perceptual), at::kFloat,
                                        at::kCPU);
    if (!options.prompts.empty()) prompts_ = eval::read_prompts(options.prompts);
    chosen_ = eval::chosen_prompts(prompts_.prompts, options.per_category);
  }

  Json run() {
    draw();
    Json report = head();
    report["caption match"] = match();
    if (!options_.perceptual.empty()) report["Frechet distance"] = distances();
    report["negative log-likelihood"] = likelihoods();
    if (!options_.prompts.empty())
      report["prompts"] = {{"file", options_.prompts},
                           {"SHA-256", prompts_.hash},
                           {"drawn", chosen_.size()},
                           {"left out", prompts_.problems}};
    report["warnings"] = artist_.warnings();
    return report;
  }

  const std::vector<std::string>& problems() const { return prompts_.problems; }

 private:
  void draw() {
    const int64_t on_sheet = options_.sheet.empty() ? 0 : sheet_captions();
    const auto in_gallery = static_cast<int64_t>(chosen_.size());
    Progress progress("lexel eval",
                      (set_.count() + kSheetSeeds * on_sheet + in_gallery) * options_.rerank,
                      "pictures", options_.quiet);
    int64_t before = 0;
    const auto draw_all = [&](const std::vector<std::string>& captions, uint64_t seed) {
      const at::Tensor pictures =
          artist_.draw(captions, seed, [&](int64_t drawn) { progress.update(before + drawn); });
      before += static_cast<int64_t>(captions.size()) * options_.rerank;
      return pictures;
    };
    drawn_ = draw_all(set_.captions, options_.seed);
    if (on_sheet > 0) {
      const std::vector<std::string> captions(set_.captions.begin(),
                                              set_.captions.begin() + on_sheet);
      std::vector<at::Tensor> columns;
      for (int64_t seed = 0; seed < kSheetSeeds; ++seed)
        columns.push_back(draw_all(captions, static_cast<uint64_t>(seed)));
      write_sheet(columns);
    }
    if (in_gallery > 0) {
      std::vector<std::string> texts;
      for (const eval::Prompt& prompt : chosen_) texts.push_back(prompt.text);
      write_gallery(draw_all(texts, options_.seed));
    }
  }

  int64_t sheet_captions() const { return std::min(options_.sheet_captions, set_.count()); }

  /// True scene with its caption | one picture a seed: the first captions by number.
  void write_sheet(const std::vector<at::Tensor>& columns) const {
    std::vector<std::vector<Image>> rows;
    for (int64_t i = 0; i < sheet_captions(); ++i) {
      rows.push_back(
          {captioned(to_image(set_.pictures[i]), set_.captions[static_cast<size_t>(i)])});
      for (const at::Tensor& column : columns) rows.back().push_back(to_image(column[i]));
    }
    std::vector<std::string> titles{"true scene"};
    for (int64_t seed = 0; seed < kSheetSeeds; ++seed) titles.push_back(concat("seed ", seed));
    write_image(options_.sheet, contact_sheet(rows, titles));
  }

  void write_gallery(const at::Tensor& pictures) const {
    std::error_code error;
    std::filesystem::create_directories(options_.gallery + "/pictures", error);
    check(!error, ErrorKind::kIo, options_.gallery, ": ", error.message());
    for (size_t i = 0; i < chosen_.size(); ++i)
      write_image(options_.gallery + "/" + eval::gallery_picture(i),
                  to_image(pictures[static_cast<int64_t>(i)]));
    const std::string note =
        concat("Drawn by ", name(), " (", artist_.model().generator_fingerprint().substr(0, 12),
               ") with ", sampling_report(options_).dump(), ". Shown without a claim.");
    write_file(options_.gallery + "/index.html", eval::gallery_page(chosen_, note));
  }

  std::string name() const { return std::filesystem::path(options_.model).filename().string(); }

  Json head() const {
    const TokenizerInfo& tokenizer = artist_.model().tokenizer().info();
    return {
        {"generator", {{"name", name()}, {"fingerprint", artist_.model().generator_fingerprint()}}},
        {"tokenizer",
         {{"name", tokenizer.name}, {"fingerprint", artist_.model().tokenizer_fingerprint()}}},
        {"detector",
         {{"name", std::filesystem::path(options_.detector).filename().string()},
          {"fingerprint", model_fingerprint(detector_file_)},
          {"threshold", detector_.config.threshold}}},
        {"reference set",
         {{"split", options_.split == "train" ? "training" : "held-out"},
          {"scenes", set_.count()},
          {"first", options_.first},
          {"seed", options_.scene_seed},
          {"composer", composer_.fingerprint()},
          {"SHA-256", set_.hash}}},
        {"sampling", sampling_report(options_)},
        {"recipe",
         {{"caption match",
           "share of the captions that claim it; 95 % Wilson interval. Ceiling: the detector on "
           "the "
           "true scenes, and on these through the tokenizer. Chance: other captions of the set"},
          {"Frechet distance",
           "1280 pooled features of EfficientNet-Lite0, equally many pictures on both sides: not "
           "comparable with published FID. Interval: bootstrap over pictures, centred"},
          {"negative log-likelihood",
           "mean over pictures of the mean over tokens, nats; 95 % bootstrap over pictures"}}}};
  }

  Json match() {
    const at::Device device = detector_.stem.weight.device();
    decoded_ = through_tokenizer(set_.pictures);
    return eval::caption_match(
        set_,
        {eval::look(detector_, set_.pictures.to(device)),
         eval::look(detector_, decoded_.to(device)), eval::look(detector_, drawn_.to(device))},
        composer_.config().sizes);
  }

  at::Tensor through_tokenizer(const at::Tensor& pictures) const {
    const ImageTokenizer& tokenizer = artist_.model().tokenizer();
    std::vector<at::Tensor> parts;
    for (int64_t first = 0; first < pictures.size(0); first += kFeaturePictures) {
      const int64_t count = std::min(kFeaturePictures, pictures.size(0) - first);
      parts.push_back(tokenizer.decode(tokenizer.encode(pictures.narrow(0, first, count))));
    }
    return at::cat(parts);
  }

  at::Tensor features(const at::Tensor& pictures) const {
    std::vector<at::Tensor> parts;
    for (int64_t first = 0; first < pictures.size(0); first += kFeaturePictures) {
      const int64_t count = std::min(kFeaturePictures, pictures.size(0) - first);
      parts.push_back(vqgan::pooled_features(net_, pictures.narrow(0, first, count)));
    }
    return at::cat(parts);
  }

  Json distances() const {
    const eval::SceneSet others =
        eval::compose_set(composer_, split_, options_.first + set_.count(), set_.count());
    const at::Tensor true_features = features(set_.pictures);
    return {{"drawn", eval::frechet(features(drawn_), true_features, options_.seed)},
            {"floor: the scenes, decoded",
             eval::frechet(features(decoded_), true_features, options_.seed)},
            {"floor: other scenes",
             eval::frechet(features(others.pictures), true_features, options_.seed)}};
  }

  Json likelihoods() const {
    const ar::Generator generator =
        ar::load_generator(options_.model, resolve_device(options_.device));
    const auto of = [&](data::Split split) {
      const eval::SceneSet set =
          split == split_ ? set_
                          : eval::compose_set(composer_, split, options_.first, set_.count());
      return eval::negative_log_likelihoods(generator, artist_.model().tokenizer(), set.pictures,
                                            set.captions, kLikelihoodPictures);
    };
    return eval::likelihood(of(data::Split::kHeldOut), of(data::Split::kTrain),
                            generator.model.config.codebook_size, options_.seed,
                            options_.resamples);
  }

  EvalGeneratorOptions options_;
  data::Split split_;
  eval::Artist artist_;
  ModelFile detector_file_;
  eval::Detector detector_;
  data::Composer composer_;
  eval::SceneSet set_;
  vqgan::PerceptualNet net_;
  eval::PromptFile prompts_;
  std::vector<eval::Prompt> chosen_;
  at::Tensor drawn_, decoded_;  // (N, 3, S, S) float32, CPU
};

}  // namespace

int run_eval_generator(const EvalGeneratorOptions& options) {
  check(options.prompts.empty() == options.gallery.empty(), ErrorKind::kUsage,
        "--prompts and --gallery belong together: what to draw, and where");
  check(options.scenes >= 2, ErrorKind::kUsage, "--scenes: expected 2 at least, got ",
        options.scenes);
  Evaluation evaluation(options);
  for (const std::string& problem : evaluation.problems())
    std::cerr << "lexel eval: left out " << problem << "\n";
  const Json report = evaluation.run();
  if (!options.json.empty()) write_file(options.json, report.dump(2) + "\n");
  write_stdout(eval::table(report));
  return 0;
}

}  // namespace lexel::cli
