#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "apps/eval/spae/layerwise.h"
#include "apps/train/spae/pictures.h"

// Private to apps/eval (a JSON type in a header): the parts of a SPAE's report.

namespace lexel::eval {

/// Tokens of the two upper layers: five in the paper's pyramids.
int64_t upper_tokens(const spae::Model& model);

/// A set of pictures by number of layers: PSNR, SSIM, Frechet distance (of as many pictures; biased upwards on few), words that
/// the layer uses and their perplexity, the guide's score of them; beside the mosaic. PSNR and SSIM leave out
/// pictures of one colour, whose mosaic has no error.
nlohmann::ordered_json set_report(const spae::Model& model, const Layerwise& set);

/// How often the upper words hold one of the caption, with Wilson intervals, beside the most frequent words.
///
/// ids   (held-out drawings, tokens)
nlohmann::ordered_json words_report(const spae::Model& model, const at::Tensor& ids,
                                    const train::WordPictures& pictures);

/// The report for a terminal.
std::string spae_table(const nlohmann::ordered_json& report);

}  // namespace lexel::eval
