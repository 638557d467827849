#include "tokenizers/sentencepiece_tokenizer.h"

#include <ATen/ops/empty.h>
#include <cstring>
#include <exception>
#include <sentencepiece_processor.h>
#include <utility>

#include "kernels/check.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/sha256.h"
#include "tokenizers/sentencepiece_check.h"
#include "tokenizers/utf8.h"

namespace lexel {

namespace {

constexpr int64_t kMaxModelBytes = int64_t{16} << 20;

class SentencePieceTokenizer : public TextTokenizer {
 public:
  /// serialized  has passed check_sentencepiece_model
  SentencePieceTokenizer(std::string_view serialized, const std::string& name)
      : serialized_(serialized), fingerprint_(sha256(serialized.data(), serialized.size())) {
    try {
      const auto status = processor_.LoadFromSerializedProto(serialized_);
      check(status.ok(), ErrorKind::kBadData, name, ": not a text tokenizer: ", status.message());
    } catch (const Error&) {
      throw;
    } catch (const std::exception& error) {  // the library's trie throws its own kind
      fail(ErrorKind::kBadData, name, ": not a text tokenizer: ", error.what());
    }
    symbols_ = {processor_.pad_id(), processor_.eos_id(), processor_.bos_id(), processor_.unk_id()};
  }

  int64_t vocabulary_size() const override { return processor_.GetPieceSize(); }
  TextSymbols symbols() const override { return symbols_; }

  std::vector<int64_t> encode(std::string_view text) const override {
    if (const auto at = first_invalid_utf8(text))
      fail(ErrorKind::kBadData, "text is not UTF-8 at byte ", *at);
    std::vector<int> pieces;
    const auto status = processor_.Encode(text, &pieces);
    check(status.ok(), ErrorKind::kInternal, "SentencePiece cannot encode: ", status.message());
    return {pieces.begin(), pieces.end()};
  }

  std::string decode(const std::vector<int64_t>& ids) const override {
    std::vector<int> pieces;
    for (const int64_t id : ids) {
      check_id(id);
      if (id == symbols_.end) break;
      if (!processor_.IsControl(static_cast<int>(id))) pieces.push_back(static_cast<int>(id));
    }
    std::string text;
    const auto status = processor_.Decode(pieces, &text);
    check(status.ok(), ErrorKind::kInternal, "SentencePiece cannot decode: ", status.message());
    return text;
  }

  std::string piece(int64_t id) const override {
    check_id(id);
    return processor_.IdToPiece(static_cast<int>(id));
  }
  bool is_byte(int64_t id) const override {
    return id >= 0 && id < vocabulary_size() && processor_.IsByte(static_cast<int>(id));
  }

  const std::string& serialized() const override { return serialized_; }
  const std::string& fingerprint() const override { return fingerprint_; }

 private:
  void check_id(int64_t id) const {
    check(id >= 0 && id < vocabulary_size(), ErrorKind::kBadData, "text id ", id,
          " is outside of the vocabulary of ", vocabulary_size(), " pieces");
  }

  std::string serialized_, fingerprint_;
  sentencepiece::SentencePieceProcessor processor_;
  TextSymbols symbols_;
};

}  // namespace

std::unique_ptr<TextTokenizer> text_tokenizer_from_bytes(std::string_view serialized,
                                                         const std::string& name) {
  check_sentencepiece_model(serialized, name);
  return std::make_unique<SentencePieceTokenizer>(serialized, name);
}

std::unique_ptr<TextTokenizer> load_text_tokenizer(const std::string& path) {
  const std::vector<uint8_t> bytes = read_file(path, kMaxModelBytes);
  return text_tokenizer_from_bytes({reinterpret_cast<const char*>(bytes.data()), bytes.size()},
                                   path);
}

std::unique_ptr<TextTokenizer> take_text_tokenizer(std::map<std::string, at::Tensor>& tensors,
                                                   int64_t vocabulary, const std::string& name) {
  const auto taken = tensors.extract(kTextTokenizerTensor);
  check(!taken.empty(), ErrorKind::kBadData, name, ": tensor \"", kTextTokenizerTensor,
        "\" is missing");
  const std::string where = name + ": " + kTextTokenizerTensor;
  check(taken.mapped().scalar_type() == at::kByte && taken.mapped().dim() == 1, ErrorKind::kBadData,
        where, ": not a text tokenizer: expected a row of uint8");
  const at::Tensor row = taken.mapped().cpu().contiguous();
  auto tokenizer =
      text_tokenizer_from_bytes({reinterpret_cast<const char*>(row.const_data_ptr<uint8_t>()),
                                 static_cast<size_t>(row.numel())},
                                where);
  check(tokenizer->vocabulary_size() == vocabulary, ErrorKind::kBadData, name,
        ": expected a text tokenizer of ", vocabulary, " pieces, got ",
        tokenizer->vocabulary_size());
  return tokenizer;
}

at::Tensor text_tokenizer_tensor(const TextTokenizer& tokenizer) {
  const std::string& serialized = tokenizer.serialized();
  at::Tensor bytes = at::empty({static_cast<int64_t>(serialized.size())}, at::kByte);
  std::memcpy(bytes.mutable_data_ptr<uint8_t>(), serialized.data(), serialized.size());
  return bytes;
}

}  // namespace lexel
