#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include "apps/train/options.h"

namespace lexel::train {

/// Packs what a recipe trains on into `options.output`, within a budget of bytes, so that a run can travel:
///   data.tar      WebDataset, the pictures scaled down; photos and clip art as JPEG of quality 90
///   recipe.json   the recipe, with the mixture for the pictures that are in and paths relative to the folder
///   perceptual.pth  where the recipe has a perceptual net
///
/// A set gets bytes by its share of the mixture; what it does not need goes to the others. Its pictures keep the
/// largest side at which all fit; where that would be less than 3 times the model's size, some pictures
/// stay out, evenly. A set that a mixture does not name is left out. Of each held-out set as many pictures
/// come as an evaluation uses (at most `options.held_out`), as the model's own squares without
/// loss: they evaluate as the originals do.
///
/// log      gets one line a set
/// throws   Error(kUsage) no picture, a budget too small for one picture of each set; Error(kIo)
void pack_training(const cli::TrainPackOptions& options, std::ostream& log);

}  // namespace lexel::train
