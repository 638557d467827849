#pragma once

#include <string>
#include <vector>

#include "tokenizers/io/image.h"

namespace lexel {

/// Pictures side by side: one row of the sheet for each row given, columns as wide as their widest picture,
/// thin light lines between, and the titles above the columns in small capitals (cut to the column's width).
///
/// rows     at least one picture in all; rows may be of different lengths, pictures of different sizes
/// titles   empty, or one a column; other characters than ASCII are drawn as blanks
/// throws   Error(kUsage) when there is no picture, or more than kMaxImagePixels come together
Image contact_sheet(const std::vector<std::vector<Image>>& rows,
                    const std::vector<std::string>& titles = {});

/// A picture with its caption beneath, broken into lines that end at least a letter's width before the picture's right edge.
///
/// max_lines  more are cut, and end in "..."
Image captioned(const Image& image, const std::string& caption, int64_t max_lines = 4);

}  // namespace lexel
