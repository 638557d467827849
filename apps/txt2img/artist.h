#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "apps/progress.h"
#include "apps/txt2img/options.h"
#include "apps/txt2img/outputs.h"
#include "apps/txt2img/record.h"
#include "autoregressive/edit.h"
#include "autoregressive/scorer.h"
#include "autoregressive/text_to_image.h"
#include "tokenizers/upsampler.h"

namespace lexel::cli {

/// Draws pictures as one run of txt2img wants them: candidates and their ranking, edits, previews, records.
class Artist {
 public:
  /// Loads the models.
  ///
  /// asked    what every picture of the run has in common: sampling, precision, and of a picture that is drawn again what it was
  ///          drawn with
  /// pack     of the generator: see TextToImage::Setup
  /// again    the models must be those of `asked`, and so must the photo and mask of an edit
  /// throws   what loading throws; Error(kBadData) another model, photo or mask than `asked` names
  Artist(const Txt2ImgOptions& options, const Record& asked, bool again, TextToImage::Pack pack);

  /// Pictures that are best drawn together.
  size_t at_once() const;
  const TextToImage& model() const { return model_; }

  /// Draws pictures, at most at_once(): notes go to stderr, previews to their folder.
  std::vector<Drawn> draw(const std::vector<Job>& jobs, Progress& progress);

  /// Tokens of all candidates of one picture: what progress counts.
  int64_t tokens_a_picture() const;

 private:
  struct Candidate {
    int64_t number = 0;
    at::Tensor image, tokens, log_probabilities;
  };
  size_t candidates_at_once() const;
  std::vector<Candidate> candidates(const std::vector<Job>& jobs, Progress& progress);
  size_t best(const Job& job, const std::vector<Candidate>& candidates, Record& record) const;
  void load_edit(bool again);
  void warn(const Caption& caption, const std::string& warning);
  void preview(const std::vector<int64_t>& numbers, const at::Tensor& tokens) const;

  const Txt2ImgOptions& options_;
  Record asked_;
  TextToImage model_;
  std::optional<Edit> edit_;
  std::unique_ptr<Scorer> scorer_;
  std::unique_ptr<PictureUpsampler> upsampler_;
  int64_t tokens_done_ = 0;
  std::set<int64_t> warned_;  // numbers of captions
};

}  // namespace lexel::cli
