#include "tokenizers/text_tokenizer.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <algorithm>

#include "kernels/check.h"

namespace lexel {

bool EncodedCaptions::any_cut() const {
  return std::find(cut.begin(), cut.end(), true) != cut.end();
}

EncodedCaptions encode_captions(const TextTokenizer& tokenizer,
                                const std::vector<std::string>& captions, int64_t max_tokens) {
  check_arg(max_tokens >= 1, "encode_captions", "expected max_tokens >= 1, got ", max_tokens);
  const auto batch = static_cast<int64_t>(captions.size());
  const TextSymbols symbols = tokenizer.symbols();
  EncodedCaptions out;
  out.ids = at::full({batch, max_tokens}, symbols.padding, at::kLong);  // (B, max_tokens)
  out.lengths = at::empty({batch}, at::kLong);                          // (B)
  out.cut.resize(captions.size());
  int64_t* row = out.ids.mutable_data_ptr<int64_t>();
  int64_t* length = out.lengths.mutable_data_ptr<int64_t>();
  for (size_t i = 0; i < captions.size(); ++i, row += max_tokens) {
    std::vector<int64_t> pieces;
    try {
      pieces = tokenizer.encode(captions[i]);
    } catch (const Error& error) {
      fail(error.kind(), "caption ", i, ": ", error.what());
    }
    const auto available = static_cast<int64_t>(pieces.size());
    const int64_t kept = std::min(available, max_tokens - 1);
    std::copy_n(pieces.begin(), kept, row);
    row[kept] = symbols.end;
    length[i] = kept + 1;
    out.cut[i] = kept < available;
  }
  return out;
}

}  // namespace lexel
