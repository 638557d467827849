#pragma once

#include "kernels/cpu/codebook_panels.h"

namespace lexel::kernels::cpu {

constexpr int64_t kMaxScannedRows = 3;

/// Winners of up to kMaxScannedRows rows among the codes of places first .. last-1, with the codes read once as
/// they lie; the same bits as by panels.
///
/// returns  false where that is not possible (a width that is no multiple of the vectors, values that are not finite or too
///          large, too many codes too close): the winners are then not to be used
bool scan_codes(const float* rows, int64_t num_rows, const CodesInPlay& codes, int64_t first,
                int64_t last, const Winners& winners);

}  // namespace lexel::kernels::cpu
