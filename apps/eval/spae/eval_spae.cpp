#include <ATen/core/grad_mode.h>
#include <ATen/ops/stack.h>
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "apps/eval/spae/layerwise.h"
#include "apps/eval/spae/options.h"
#include "apps/eval/spae/report.h"
#include "apps/progress.h"
#include "apps/spool.h"
#include "apps/train/spae/pictures.h"
#include "kernels/check.h"
#include "kernels/device.h"
#include "tokenizers/guide_file.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/contact_sheet.h"
#include "tokenizers/spae_file.h"

namespace lexel::cli {
namespace {

using Json = nlohmann::ordered_json;
using train::WordPictures;

constexpr int64_t kSheetRows = 5;  // of each set
constexpr int64_t kSheetWordLines = 3;

struct Loaded {
  spae::Model model;
  std::optional<spae::DualEncoder> eye;
  WordTableFile table;
  std::optional<spae::DualEncoderGuide> guide;
  std::string fingerprint;

  const spae::DualEncoder* eye_or_null() const { return eye ? &*eye : nullptr; }
};

Loaded load(const EvalSpaeOptions& options) {
  const at::Device device = resolve_device(options.device);
  const ModelFile file = read_model_file(options.model);
  Loaded loaded{spae_model(file, options.model, device), eye_of(file, options.model, device),
                read_word_table(options.words), std::nullopt, model_fingerprint(file)};
  check(loaded.eye || loaded.model.config.feature_width == 0, ErrorKind::kBadData, options.model,
        ": the model sees features, and its file holds no eye");
  check(loaded.table.table.words == loaded.model.codebook.words, ErrorKind::kUsage, options.words,
        ": expected the ", loaded.model.codebook.words.size(), " words of ", options.model,
        "; give its word table with --words");
  if (!options.guide.empty()) {
    loaded.guide.emplace(load_guide(options.guide, device),
                         spae::make_lexical_codebook(loaded.table.table, 1).semantics.to(device));
  }
  return loaded;
}

std::vector<std::string> words_at(const spae::Model& model, const at::Tensor& ids) {
  std::vector<std::string> words;
  for (int64_t t = 0; t < ids.size(0); ++t)
    words.push_back(model.codebook.words[static_cast<size_t>(ids[t].item<int64_t>())]);
  return words;
}

/// The upper words as a text, layer by layer: "cat | animal pet face ears".
std::string upper_text(const spae::Model& model, const at::Tensor& ids) {
  std::string text;
  const std::vector<std::string> words =
      words_at(model, ids.narrow(0, 0, eval::upper_tokens(model)));
  for (size_t t = 0; t < words.size(); ++t) text += (t == 0 ? "" : t == 1 ? " | " : " ") + words[t];
  return text;
}

void add_rows(const spae::Model& model, const eval::Layerwise& set,
              std::vector<std::vector<Image>>& rows) {
  const auto shown = static_cast<int64_t>(set.sheet.size());
  for (int64_t row = 0; row < shown; ++row) {
    std::vector<Image>& line = rows.emplace_back();
    for (const at::Tensor& picture : set.sheet[static_cast<size_t>(row)])
      line.push_back(to_image(picture));
    const at::Tensor ids = set.ids[row * set.ids.size(0) / shown];
    line.front() = captioned(line.front(), upper_text(model, ids), kSheetWordLines);
  }
}

void write_sheet(const std::string& path, const spae::Model& model, const eval::Layerwise& drawings,
                 const eval::Layerwise& photos) {
  std::vector<std::vector<Image>> rows;
  add_rows(model, drawings, rows);
  add_rows(model, photos, rows);
  std::vector<std::string> titles{"original", "mosaic"};
  for (int64_t n = 1; n <= model.pyramid.layers(); ++n)
    titles.push_back(std::to_string(n) + (n == 1 ? " layer" : " layers"));
  write_image(path, contact_sheet(rows, titles));
}

/// A line of JSON for each held-out drawing of a subject of one word that has keywords too: what `lexel eval spae-fewshot` reads.
void write_words(const EvalSpaeOptions& options, const Loaded& loaded,
                 const data::WordFinder& words) {
  constexpr int64_t kAll = 1'000'000;
  WordPictures pictures({.inputs = options.data,
                         .image_size = loaded.model.config.image_size,
                         .held_out = kAll,
                         .of_subject = kAll},
                        words);
  const int64_t upper = eval::upper_tokens(loaded.model);
  Progress progress("words", pictures.held_out_drawings(), "pictures", options.quiet);
  std::string lines;
  for (int64_t i = 0; i < pictures.held_out_drawings(); ++i) {
    progress.update(i + 1);
    const data::PictureWords& truth = pictures.words_of_held_out(i);
    if (truth.names.size() != 1 || truth.others.empty()) continue;
    const at::Tensor image =
        pictures.held_out_drawing(i).unsqueeze(0).to(loaded.model.codebook.codes.device());
    const at::Tensor features =
        loaded.eye ? spae::guide_features(*loaded.eye, image) : at::Tensor();
    const at::Tensor ids = spae::encode(loaded.model, image, features)[0];
    Json line = {{"picture", pictures.name_of_held_out(i)},
                 {"concept", truth.subject},
                 {"words", words_at(loaded.model, ids.narrow(0, 0, upper))},
                 {"caption_words", Json::array()}};
    for (const int64_t row : truth.others)
      line["caption_words"].push_back(words.words()[static_cast<size_t>(row)]);
    lines += line.dump() + "\n";
  }
  write_file(options.words_output, lines);
}

}  // namespace

int run_eval_spae(const EvalSpaeOptions& options) {
  const at::NoGradGuard no_grad;
  const Loaded loaded = load(options);
  const data::WordFinder words(loaded.table);
  WordPictures pictures({.inputs = options.data,
                         .image_size = loaded.model.config.image_size,
                         .held_out = options.limit},
                        words);
  Progress progress("lexel eval", pictures.held_out_drawings() + pictures.held_out_photos(),
                    "pictures", options.quiet);
  int64_t done = 0;
  const auto run = [&](int64_t count, const auto& picture) {
    return eval::layerwise(loaded.model, loaded.eye_or_null(),
                           loaded.guide ? &*loaded.guide : nullptr, count, picture, kSheetRows,
                           [&](int64_t batch) { progress.update(done += batch); });
  };
  const eval::Layerwise drawings =
      run(pictures.held_out_drawings(), [&](int64_t i) { return pictures.held_out_drawing(i); });
  const eval::Layerwise photos =
      run(pictures.held_out_photos(), [&](int64_t i) { return pictures.held_out_photo(i); });
  Json report = {{"model", options.model},
                 {"model fingerprint", loaded.fingerprint},
                 {"data fingerprint", pictures.fingerprint()},
                 {"drawings", eval::set_report(loaded.model, drawings)}};
  if (photos.ids.defined()) report["photos"] = eval::set_report(loaded.model, photos);
  report["upper words"] = eval::words_report(loaded.model, drawings.ids, pictures);
  if (!options.output.empty()) write_file(options.output, report.dump(2) + "\n");
  if (!options.sheet.empty()) write_sheet(options.sheet, loaded.model, drawings, photos);
  if (!options.words_output.empty()) write_words(options, loaded, words);
  write_stdout(eval::spae_table(report));
  return 0;
}

}  // namespace lexel::cli
