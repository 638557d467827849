#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace lexel {

/// Where a text stops being UTF-8: the offset of the first byte that begins no well-formed character
/// (stray continuation, overlong form, surrogate, past U+10FFFF, truncated); nothing when all of it is.
///
/// source  RFC 3629, section 4
std::optional<size_t> first_invalid_utf8(std::string_view text);

}  // namespace lexel
