#include "apps/txt2img/artist.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/stack.h>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <numeric>
#include <sstream>
#include <utility>

#include "kernels/check.h"
#include "tokenizers/io/model_file.h"

namespace lexel::cli {
namespace {

namespace fs = std::filesystem;

std::string file_name(const std::string& path) { return fs::path(path).filename().string(); }

/// Nothing if the model is the one that a picture remembers.
void check_same(const ModelStamp& found, const ModelStamp& remembered, const std::string& picture) {
  check(found.fingerprint == remembered.fingerprint, ErrorKind::kBadData, picture,
        ": was drawn with ", remembered.name, " (", remembered.fingerprint.substr(0, 12), "), ",
        found.name, " is another model (", found.fingerprint.substr(0, 12), ")");
}

}  // namespace

Artist::Artist(const Txt2ImgOptions& options, const Record& asked, bool again,
               TextToImage::Pack pack)
    : options_(options),
      asked_(asked),
      model_(options.model, options.tokenizer,
             {.device = options.device,
              .weights = weight_format(asked.precision),
              .pack = std::move(pack)}) {
  const ModelStamp generator{file_name(options.model), model_.generator_fingerprint()};
  const ModelStamp tokenizer{file_name(options.tokenizer), model_.tokenizer_fingerprint()};
  if (again) {
    check_same(generator, asked.generator, options.like);
    check_same(tokenizer, asked.tokenizer, options.like);
  } else {
    asked_.generator = generator;
    asked_.tokenizer = tokenizer;
  }
  if (!options.edit.empty() || !asked.photo.empty()) load_edit(again);
  if (options.rerank > 1) {
    check(std::filesystem::exists(options.scorer), ErrorKind::kIo, options.scorer,
          ": no such file; --rerank needs a scorer: make one with lexel train scorer, name it with "
          "--scorer");
    scorer_ = std::make_unique<Scorer>(load_scorer(options.scorer));
    asked_.scorer = {file_name(options.scorer), model_fingerprint(read_model_file(options.scorer))};
  }
  const bool was_larger = !asked.upscaler.fingerprint.empty();
  check(!again || was_larger == !options.upscale.empty(), ErrorKind::kUsage, options.like,
        was_larger
            ? concat(": was made larger by ", asked.upscaler.name, ": name it with --upscale")
            : std::string(": was not made larger: leave --upscale out"));
  if (!options.upscale.empty()) {
    upsampler_ = load_upsampler(options.upscale, options.device);
    asked_.upscaler = {file_name(options.upscale),
                       model_fingerprint(read_model_file(options.upscale))};
    if (again) check_same(asked_.upscaler, asked.upscaler, options.like);
  }
}

void Artist::load_edit(bool again) {
  check(!options_.edit.empty(), ErrorKind::kUsage, options_.like,
        ": is an edited photo; --edit names the photo",
        asked_.mask.empty() ? "" : ", --mask the mask");
  const Image photo = read_image(options_.edit);
  const std::string photo_print = pixels_fingerprint(photo);
  std::string mask_print;
  if (!options_.mask.empty()) {
    const Image mask = read_image(options_.mask);
    mask_print = pixels_fingerprint(mask);
    edit_ = edit_masked(model_.tokenizer(), photo, mask);
  } else {
    const int64_t rows = again ? asked_.keep_top : options_.keep_top;
    check(rows > 0, ErrorKind::kUsage, "--edit: expected --mask or --keep-top");
    edit_ = edit_below(model_.tokenizer(), photo, rows);
    asked_.keep_top = rows;
  }
  if (again) {
    check(photo_print == asked_.photo && mask_print == asked_.mask, ErrorKind::kBadData,
          options_.like, ": was drawn from another photo or mask than ", options_.edit,
          options_.mask.empty() ? "" : " and ", options_.mask);
  }
  asked_.photo = photo_print;
  asked_.mask = mask_print;
}

size_t Artist::candidates_at_once() const {
  const size_t rows_a_picture = asked_.sampling.guidance == 1.0 ? 1 : 2;
  return static_cast<size_t>(ar::Decoder::kMaxRows) / rows_a_picture;
}

size_t Artist::at_once() const {
  return std::max<size_t>(1, candidates_at_once() / static_cast<size_t>(options_.rerank));
}

int64_t Artist::tokens_a_picture() const {
  return options_.rerank * model_.config().grid_height * model_.config().grid_width;
}

std::vector<Drawn> Artist::draw(const std::vector<Job>& jobs, Progress& progress) {
  const std::vector<Candidate> all = candidates(jobs, progress);
  const auto each = static_cast<size_t>(options_.rerank);
  std::vector<Drawn> pictures;
  for (size_t i = 0; i < jobs.size(); ++i) {
    const std::vector<Candidate> mine(all.begin() + static_cast<long>(i * each),
                                      all.begin() + static_cast<long>((i + 1) * each));
    Drawn drawn{jobs[i], {}, {}, asked_};
    const Candidate& chosen = mine[scorer_ ? best(jobs[i], mine, drawn.record) : 0];
    drawn.tokens = chosen.tokens;
    at::Tensor image = edit_ ? blend(*edit_, chosen.image) : chosen.image;
    if (upsampler_) image = upsampler_->upscale(image.unsqueeze(0)).squeeze(0);
    drawn.image = to_image(image);
    drawn.record.caption = jobs[i].caption.text;
    drawn.record.picture = chosen.number;
    drawn.record.tokens = tokens_fingerprint(chosen.tokens);
    const int64_t free_tokens =
        edit_ ? edit_->redraw.sum().item<int64_t>() : chosen.tokens.numel();  // that were drawn
    drawn.record.mean_log_probability =
        chosen.log_probabilities.to(at::kDouble).sum().item<double>() /
        static_cast<double>(free_tokens);
    pictures.push_back(std::move(drawn));
  }
  return pictures;
}

std::vector<Artist::Candidate> Artist::candidates(const std::vector<Job>& jobs,
                                                  Progress& progress) {
  std::vector<const Job*> rows;  // of each candidate
  std::vector<Candidate> all;
  for (const Job& job : jobs) {
    for (int64_t k = 0; k < options_.rerank; ++k) {
      rows.push_back(&job);
      all.push_back({job.number * options_.rerank + k, {}, {}, {}});
    }
  }
  for (size_t first = 0; first < all.size(); first += candidates_at_once()) {
    const size_t last = std::min(all.size(), first + candidates_at_once());
    const auto batch = static_cast<int64_t>(last - first);
    std::vector<std::string> captions;
    TextToImage::Options options;
    options.sampling = asked_.sampling;
    for (size_t i = first; i < last; ++i) {
      captions.push_back(rows[i]->caption.text);
      options.pictures.push_back(all[i].number);
    }
    if (edit_)
      options.given = edit_->given.unsqueeze(0).expand({batch, -1}).contiguous();  // (B, N)
    options.on_token = [&](int64_t done, const at::Tensor& tokens) {
      progress.update(tokens_done_ + done);
      if (!options_.preview.empty()) preview(options.pictures, tokens);
      return true;
    };
    const TextToImage::Result result = model_.draw(captions, options);
    tokens_done_ += batch * result.tokens.size(1);
    for (size_t i = first; i < last; ++i) {
      const auto row = static_cast<int64_t>(i - first);
      all[i].image = result.images[row];
      all[i].tokens = result.tokens[row];
      all[i].log_probabilities = result.log_probabilities[row];
      warn(rows[i]->caption, result.warnings[i - first]);
    }
  }
  return all;
}

void Artist::warn(const Caption& caption, const std::string& warning) {
  if (warning.empty() || options_.quiet || !warned_.insert(caption.number).second) return;
  std::cerr << "txt2img: " << caption.where << " " << warning << "\n";
}

size_t Artist::best(const Job& job, const std::vector<Candidate>& candidates,
                    Record& record) const {
  std::vector<at::Tensor> images;
  for (const Candidate& candidate : candidates)
    images.push_back(edit_ ? blend(*edit_, candidate.image) : candidate.image);
  const at::Tensor scores =
      scorer_->score(at::stack(images), std::vector<std::string>(images.size(), job.caption.text))
          .to(at::kDouble)
          .contiguous();
  record.scores.assign(scores.data_ptr<double>(), scores.data_ptr<double>() + scores.numel());
  std::vector<size_t> order(candidates.size());  // best first; of equals the one drawn first
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return record.scores[a] > record.scores[b]; });
  if (!options_.quiet) {
    std::ostringstream table;
    table << "txt2img: " << job.caption.where << ": candidates by score, the first is kept\n";
    for (const size_t i : order) {
      char line[80];
      std::snprintf(line, sizeof line, "%8.4f  number %lld\n", record.scores[i],
                    static_cast<long long>(candidates[i].number));
      table << line;
    }
    std::cerr << table.str();
  }
  return order.front();
}

void Artist::preview(const std::vector<int64_t>& numbers, const at::Tensor& tokens) const {
  const int64_t drawn = tokens_so_far(tokens);
  if (drawn % options_.preview_every != 0) return;
  for (size_t i = 0; i < numbers.size(); ++i) {
    const at::Tensor mine = tokens.narrow(0, static_cast<int64_t>(i), 1);  // (1, N)
    if (mine.ge(0).sum().item<int64_t>() != drawn) continue;               // done, or not begun
    char name[64];
    std::snprintf(name, sizeof name, "%04lld-after-%04lld.png", static_cast<long long>(numbers[i]),
                  static_cast<long long>(drawn));
    write_image((fs::path(options_.preview) / name).string(),
                to_image(model_.picture_so_far(mine).squeeze(0)));
  }
}

}  // namespace lexel::cli
