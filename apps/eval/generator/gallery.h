#pragma once

#include <string>
#include <vector>

#include "apps/eval/generator/prompts.h"
#include "tokenizers/io/image.h"

namespace lexel::eval {

/// The prompts of a table that are drawn: the first `per_category` of each category (0: all), in the order of the
/// file.
std::vector<Prompt> chosen_prompts(const std::vector<Prompt>& prompts, int64_t per_category);

/// Name of the picture of prompt `number` (from 0) below the gallery's folder: "pictures/0001.png".
std::string gallery_picture(size_t number);

/// The page of a gallery: a section a category, every picture over its prompt, challenge and note in its
/// tooltip. Text is escaped; nothing is loaded from a network.
///
/// note     a line below the title, such as the model and its options
std::string gallery_page(const std::vector<Prompt>& prompts, const std::string& note);

}  // namespace lexel::eval
