#include "apps/train/found_pictures.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "kernels/check.h"
#include "kernels/philox.h"
#include "tokenizers/io/image.h"
#include "tokenizers/io/picture_label.h"

namespace lexel::train {
namespace {

std::string set_name(const PictureBytes& bytes, const PictureLabel& label) {
  if (!label.set.empty()) return label.set;
  const std::filesystem::path source(bytes.source);
  if (source.extension() == ".tar") return source.stem().string();
  const std::string folder = source.parent_path().filename().string();
  return folder.empty() ? "pictures" : folder;
}

}  // namespace

std::vector<FoundPicture> find_pictures(const std::vector<std::string>& inputs, int64_t min_side,
                                        std::vector<std::string>& skipped) {
  std::vector<FoundPicture> found;
  PictureSource source(inputs);
  for (bool more = true; more;) {
    FoundPicture one;
    try {
      more = source.next(one.bytes);
      if (!more) break;
      const auto header =
          read_image_header(one.bytes.data.data(), one.bytes.data.size(), one.bytes.name);
      one.width = header.width;
      one.height = header.height;
    } catch (const Error& error) {
      skipped.push_back(error.what());
      continue;
    }
    if (std::min(one.width, one.height) < min_side) {
      skipped.push_back(concat(one.bytes.name, ": ", one.width, "x", one.height, " is too small"));
      continue;
    }
    const PictureLabel label = picture_label(one.bytes.json);
    one.has_json = label.found;
    one.held_out = label.held_out;
    one.set = set_name(one.bytes, label);
    found.push_back(std::move(one));
  }
  const bool any_json =
      std::any_of(found.begin(), found.end(), [](const FoundPicture& one) { return one.has_json; });
  if (!any_json) {
    // By the file's own name, so that the split does not depend on where a folder lies.
    for (FoundPicture& one : found) {
      one.held_out = fnv1a(std::filesystem::path(one.bytes.name).filename().string()) % 20 == 0;
    }
  }
  return found;
}

}  // namespace lexel::train
