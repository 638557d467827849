#pragma once

#include <map>
#include <string>

#include "apps/data/pack.h"

namespace lexel::data {

/// Packages that draw the things of things.h.
inline constexpr const char* kSpritePackages[] = {"ruby-tanuki-emoji", "ruby-gemojione"};

/// OUTPUT/sprites.tar: for each thing and each drawing of it KEY.png, RGBA cut to its visible pixels, and
/// KEY.json with name, plural, drawing, tintable, source and licence. What read_sprites reads.
///
/// roots    package name to the folder where it is unpacked
/// returns  the sprites as `train`
/// throws   Error(kIo); Error(kBadData) when a thing has no drawing
PackCount pack_sprites(const std::map<std::string, std::string>& roots, const std::string& output);

}  // namespace lexel::data
