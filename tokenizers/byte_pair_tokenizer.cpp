#include "tokenizers/byte_pair_tokenizer.h"

#include <array>
#include <optional>
#include <queue>
#include <unordered_map>
#include <utility>

#include "kernels/check.h"
#include "tokenizers/io/gguf.h"
#include "tokenizers/pre_tokenizer.h"
#include "tokenizers/utf8.h"

namespace lexel {
namespace {

constexpr int64_t kMaxTokens = 1 << 20;
enum TokenType : int64_t { kNormal = 1, kControl = 3 };  // of GGUF; control: a symbol, not text

void append_utf8(std::string& text, unsigned code) {  // below 0x800
  if (code < 0x80) {
    text.push_back(static_cast<char>(code));
  } else {
    text.push_back(static_cast<char>(0xC0 | code >> 6));
    text.push_back(static_cast<char>(0x80 | (code & 0x3F)));
  }
}

/// GPT-2 writes a byte as a visible character: those that print in Latin-1 as themselves, the others, in order, as
/// U+0100, U+0101 ...
std::array<std::string, 256> byte_characters() {
  std::array<std::string, 256> characters;
  unsigned next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const bool prints = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
    append_utf8(characters[byte], prints ? byte : next++);
  }
  return characters;
}

PreTokenizer rule_of(const GgufFile& file) {
  const std::string model = file.get<std::string>("tokenizer.ggml.model");
  const auto name = file.get_or<std::string>("tokenizer.ggml.pre", "default");
  check(model == "gpt2", ErrorKind::kUnsupported, file.name(), ": its tokenizer is \"", model,
        "\"; byte pairs (\"gpt2\") are read");
  if (name == "smollm" || name == "starcoder") return PreTokenizer::kGpt2Digits;
  if (name == "gpt-2" || name == "default") return PreTokenizer::kGpt2;
  fail(ErrorKind::kUnsupported, file.name(), ": its tokenizer cuts text by the rule \"", name,
       "\"; smollm, starcoder and gpt-2 are known");
}

uint64_t pair_key(int64_t left, int64_t right) {
  return static_cast<uint64_t>(left) << 32 | static_cast<uint64_t>(right);
}

}  // namespace

struct BytePairTokenizer::Tables {
  struct Merge {
    int64_t rank, result;
  };

  PreTokenizer rule = PreTokenizer::kGpt2;
  std::vector<std::optional<std::string>> bytes;  // by id; nothing for a symbol
  std::array<int64_t, 256> of_byte{};             // id, or -1
  std::unordered_map<uint64_t, Merge> merges;     // by pair_key
  int64_t end = 0, beginning = -1;

  void encode_piece(std::string_view piece, std::vector<int64_t>& ids) const;
};

BytePairTokenizer::BytePairTokenizer(const GgufFile& file) {
  auto tables = std::make_unique<Tables>();
  tables->rule = rule_of(file);
  const auto& tokens = file.get<std::vector<std::string>>("tokenizer.ggml.tokens");
  const auto& types = file.get<std::vector<int64_t>>("tokenizer.ggml.token_type");
  const auto count = static_cast<int64_t>(tokens.size());
  const auto want = [&](bool ok, const auto&... what) {
    check(ok, ErrorKind::kBadData, file.name(), ": ", what...);
  };
  want(count >= 1 && count <= kMaxTokens && types.size() == tokens.size(), "expected 1 to ",
       kMaxTokens, " tokens with a type each, got ", count, " and ", types.size());

  const std::array<std::string, 256> characters = byte_characters();
  std::unordered_map<std::string_view, char> byte_of;
  for (size_t byte = 0; byte < 256; ++byte)
    byte_of.emplace(characters[byte], static_cast<char>(static_cast<unsigned char>(byte)));
  std::unordered_map<std::string_view, int64_t> id_of;
  for (int64_t id = 0; id < count; ++id) {
    const std::string& token = tokens[static_cast<size_t>(id)];
    want(!token.empty() && id_of.emplace(token, id).second, "token ", id,
         " is empty or there twice");
    tables->bytes.emplace_back();
    if (types[static_cast<size_t>(id)] != kNormal) continue;
    std::string text;
    for (size_t i = 0; i < token.size();) {
      const size_t size = static_cast<unsigned char>(token[i]) < 0x80 ? 1 : 2;
      const auto byte = byte_of.find(std::string_view(token).substr(i, size));
      want(byte != byte_of.end(), "token ", id, " has a character that stands for no byte");
      text.push_back(byte->second);
      i += size;
    }
    tables->bytes.back() = std::move(text);
  }
  const auto find = [&](std::string_view token) {
    const auto found = id_of.find(token);
    return found == id_of.end() ? -1 : found->second;
  };
  for (size_t byte = 0; byte < 256; ++byte) tables->of_byte[byte] = find(characters[byte]);

  const auto& merges = file.get<std::vector<std::string>>("tokenizer.ggml.merges");
  tables->merges.reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const std::string_view line = merges[rank];
    const size_t space = line.find(' ');
    want(space != std::string_view::npos, "merge ", rank, " is no pair");
    const std::string_view left = line.substr(0, space), right = line.substr(space + 1);
    const int64_t a = find(left), b = find(right), result = find(concat(left, right));
    want(a >= 0 && b >= 0 && result >= 0, "merge ", rank, " has a part or a result without token");
    tables->merges.try_emplace(pair_key(a, b), Tables::Merge{static_cast<int64_t>(rank), result});
  }

  const auto special = [&](const char* key) {
    const auto id = file.get_or<int64_t>(key, -1);
    want(id >= -1 && id < count, key, " is ", id, ", outside of the ", count, " tokens");
    return id;
  };
  tables->end = special("tokenizer.ggml.eos_token_id");
  if (file.get_or<bool>("tokenizer.ggml.add_bos_token", false))
    tables->beginning = special("tokenizer.ggml.bos_token_id");
  tables_ = std::move(tables);
}

BytePairTokenizer::~BytePairTokenizer() = default;
BytePairTokenizer::BytePairTokenizer(BytePairTokenizer&&) noexcept = default;
BytePairTokenizer& BytePairTokenizer::operator=(BytePairTokenizer&&) noexcept = default;

int64_t BytePairTokenizer::vocabulary_size() const {
  return static_cast<int64_t>(tables_->bytes.size());
}
int64_t BytePairTokenizer::end() const { return tables_->end; }
int64_t BytePairTokenizer::beginning() const { return tables_->beginning; }

// The pair of the lowest rank is merged, the leftmost of equals, until none is left. Parts are a linked list; the queue
// holds every pair that came to be, and one whose parts have changed since is passed over.
void BytePairTokenizer::Tables::encode_piece(std::string_view piece,
                                             std::vector<int64_t>& ids) const {
  struct Part {
    int64_t id;  // -1: merged into the one before
    int64_t before, after;
  };
  struct Candidate {
    int64_t rank, left, left_id, right_id;
    bool operator>(const Candidate& other) const {
      return std::pair(rank, left) > std::pair(other.rank, other.left);
    }
  };
  std::vector<Part> parts;
  for (const char c : piece) {
    const int64_t id = of_byte[static_cast<unsigned char>(c)];
    if (id < 0) continue;
    const auto place = static_cast<int64_t>(parts.size());
    parts.push_back({id, place - 1, place + 1});
  }
  const auto count = static_cast<int64_t>(parts.size());
  const auto part = [&](int64_t place) -> Part& { return parts[static_cast<size_t>(place)]; };
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto offer = [&](int64_t left) {
    if (left < 0 || part(left).after >= count) return;
    const int64_t a = part(left).id, b = part(part(left).after).id;
    const auto found = merges.find(pair_key(a, b));
    if (found != merges.end()) queue.push({found->second.rank, left, a, b});
  };
  for (int64_t i = 0; i < count; ++i) offer(i);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    const int64_t right = part(best.left).after;
    if (part(best.left).id != best.left_id || right >= count || part(right).id != best.right_id)
      continue;
    part(best.left).id = merges.at(pair_key(best.left_id, best.right_id)).result;
    part(best.left).after = part(right).after;
    if (part(right).after < count) part(part(right).after).before = best.left;
    part(right).id = -1;
    offer(part(best.left).before);
    offer(best.left);
  }
  for (const Part& p : parts) {
    if (p.id >= 0) ids.push_back(p.id);
  }
}

std::vector<int64_t> BytePairTokenizer::encode(std::string_view text) const {
  if (const std::optional<size_t> bad = first_invalid_utf8(text)) {
    fail(ErrorKind::kBadData, "a text that is not UTF-8 at byte ", *bad);
  }
  std::vector<int64_t> ids;
  for (const std::string_view piece : pre_tokenize(text, tables_->rule))
    tables_->encode_piece(piece, ids);
  return ids;
}

std::string BytePairTokenizer::decode(const std::vector<int64_t>& ids) const {
  std::string text;
  for (const int64_t id : ids) {
    check(id >= 0 && id < vocabulary_size(), ErrorKind::kBadData, "expected ids in 0..",
          vocabulary_size() - 1, ", got ", id);
    text += tables_->bytes[static_cast<size_t>(id)].value_or("");
  }
  return text;
}

}  // namespace lexel
