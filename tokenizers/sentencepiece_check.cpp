#include "tokenizers/sentencepiece_check.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <unordered_set>
#include <vector>

#include "kernels/check.h"
#include "tokenizers/utf8.h"

namespace lexel {

namespace {

constexpr size_t kMaxModelBytes = size_t{16} << 20;
constexpr size_t kMaxPieces = 1'000'000;
constexpr size_t kMaxPieceBytes = 512;  // also bounds how many pieces are prefixes of one another
constexpr size_t kMaxReplacementBytes = 256;  // of the normaliser; NFKC's longest has 33
constexpr int kMaxRuleBytes = 64;             // of what the normaliser replaces
constexpr int kMaxRulesAlongAPath = 31;       // the library keeps 32 on its stack

template <class... Parts>
[[noreturn]] void bad(const std::string& name, const Parts&... parts) {
  fail(ErrorKind::kBadData, name, ": not a text tokenizer: ", parts...);
}

/// The wire format of protobuf: a sequence of (field number, wire type, value).
class Message {
 public:
  Message(std::string_view bytes, const std::string& name) : rest_(bytes), name_(name) {}

  /// Steps to the next field; false at the end. One of number() and bytes() is then valid.
  bool next() {
    if (rest_.empty()) return false;
    const uint64_t key = varint();
    field_ = key >> 3;
    type_ = static_cast<int>(key & 7);
    if (field_ == 0 || field_ >= uint64_t{1} << 29) bad(name_, "field number ", field_);
    switch (type_) {
      case 0:
        number_ = varint();
        break;
      case 1:
        number_ = 0;
        take(8);
        break;
      case 2: {
        const uint64_t size = varint();
        if (size > rest_.size())
          bad(name_, "a field of ", size, " bytes with ", rest_.size(), " left");
        bytes_ = take(size);
        break;
      }
      case 5: {
        const std::string_view four = take(4);
        uint32_t bits = 0;
        for (int i = 3; i >= 0; --i) bits = bits << 8 | static_cast<uint8_t>(four[i]);
        number_ = bits;
        break;
      }
      default:
        bad(name_, "wire type ", type_);  // groups, which nothing here uses
    }
    return true;
  }

  uint64_t field() const { return field_; }
  uint64_t number() const { return expect(0), number_; }
  float real() const { return expect(5), std::bit_cast<float>(static_cast<uint32_t>(number_)); }
  std::string_view bytes() const { return expect(2), bytes_; }

 private:
  void expect(int type) const {
    if (type_ != type) bad(name_, "field ", field_, " has wire type ", type_, ", expected ", type);
  }
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<uint8_t>(take(1)[0]);
      if (shift == 63 && byte > 1) break;
      value |= uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return value;
    }
    bad(name_, "an integer of more than 64 bits");
  }
  std::string_view take(size_t bytes) {
    if (bytes > rest_.size()) bad(name_, "it is truncated");
    const std::string_view taken = rest_.substr(0, bytes);
    rest_.remove_prefix(bytes);
    return taken;
  }

  std::string_view rest_;
  const std::string& name_;
  uint64_t field_ = 0, number_ = 0;
  int type_ = -1;
  std::string_view bytes_;
};

/// Marks a field that may stand once in its message, so that "the last one wins" never matters.
class Once {
 public:
  explicit Once(const std::string& name) : name_(name) {}
  void operator()(uint64_t field) {
    if (!seen_.insert(field).second) bad(name_, "field ", field, " stands twice");
  }

 private:
  const std::string& name_;
  std::unordered_set<uint64_t> seen_;
};

enum class PieceType : uint64_t { kNormal = 1, kUnknown = 2, kControl = 3, kByte = 6 };

struct Vocabulary {
  std::unordered_set<std::string_view> pieces;  // of any type
  std::unordered_set<std::string_view> controls;
  std::string_view unknown;
  int64_t unknowns = 0;
  int64_t normal = 0;
  std::array<bool, 256> bytes = {};
};

/// "<0xC3>" is byte 0xC3; -1 for anything else.
int byte_of_piece(std::string_view piece) {
  if (piece.size() != 6 || piece.substr(0, 3) != "<0x" || piece[5] != '>') return -1;
  int value = 0;
  for (const char c : piece.substr(3, 2)) {
    if (c >= '0' && c <= '9')
      value = value * 16 + (c - '0');
    else if (c >= 'A' && c <= 'F')
      value = value * 16 + (c - 'A' + 10);
    else
      return -1;
  }
  return value;
}

void read_piece(std::string_view bytes, const std::string& name, Vocabulary& vocabulary) {
  std::string_view text;
  auto type = PieceType::kNormal;
  Once once(name);
  for (Message message(bytes, name); message.next();) {
    once(message.field());
    if (message.field() == 1) {
      text = message.bytes();
    } else if (message.field() == 2) {
      if (!std::isfinite(message.real())) bad(name, "a piece's score is not finite");
    } else if (message.field() == 3) {
      type = static_cast<PieceType>(message.number());
    } else {
      bad(name, "a piece has the unknown field ", message.field());
    }
  }
  const size_t id = vocabulary.pieces.size();
  if (id == kMaxPieces) bad(name, "more than ", kMaxPieces, " pieces");
  if (text.empty() || text.size() > kMaxPieceBytes)
    bad(name, "piece ", id, " has ", text.size(), " bytes, expected 1 to ", kMaxPieceBytes);
  if (first_invalid_utf8(text) || text.find('\0') != std::string_view::npos)
    bad(name, "piece ", id, " is not text");
  if (!vocabulary.pieces.insert(text).second) bad(name, "piece ", id, " stands twice");
  switch (type) {
    case PieceType::kNormal:
      ++vocabulary.normal;
      return;
    case PieceType::kUnknown:
      vocabulary.unknown = text;
      ++vocabulary.unknowns;
      return;
    case PieceType::kControl:
      vocabulary.controls.insert(text);
      return;
    case PieceType::kByte:
      if (byte_of_piece(text) < 0) bad(name, "piece ", id, " is no byte");
      vocabulary.bytes[byte_of_piece(text)] = true;
      return;
  }
  bad(name, "piece ", id, " has type ", static_cast<uint64_t>(type),
      ", expected a normal, unknown, control or byte piece");
}

/// What of the trainer's settings changes how text is cut.
struct Settings {
  uint64_t model_type = 1;  // unigram
  bool byte_fallback = false, space_behind = false;
  std::string_view unknown = "<unk>", beginning = "<s>", end = "</s>", padding = "<pad>";
};

Settings read_settings(std::string_view bytes, const std::string& name) {
  Settings settings;
  Once once(name);
  for (Message message(bytes, name); message.next();) {
    const uint64_t field = message.field();
    const bool repeated = field == 1 || field == 5 || field == 30 || field == 31;
    if (!repeated) once(field);
    switch (field) {
      case 3:
        settings.model_type = message.number();
        break;
      case 24:
        settings.space_behind = message.number() != 0;
        break;
      case 35:
        settings.byte_fallback = message.number() != 0;
        break;
      case 44:
        if (message.bytes().size() > 64) bad(name, "what stands for the unknown is too long");
        break;
      case 45:
        settings.unknown = message.bytes();
        break;
      case 46:
        settings.beginning = message.bytes();
        break;
      case 47:
        settings.end = message.bytes();
        break;
      case 48:
        settings.padding = message.bytes();
        break;
      default:
        break;  // how it was trained
    }
  }
  return settings;
}

/// The double array of Darts-clone, walked as its commonPrefixSearch would on every possible text.
class Trie {
 public:
  Trie(std::string_view units, std::string_view replacements, const std::string& name)
      : units_(units.size() / 4),
        rules_(units_.size(), kUnknown),
        replacements_(replacements),
        name_(name) {
    if (units.size() % 4 != 0 || units_.empty()) bad(name_, "its normaliser's table is truncated");
    for (size_t i = 0; i < units_.size(); ++i) {
      uint32_t unit = 0;
      for (int b = 3; b >= 0; --b) unit = unit << 8 | static_cast<uint8_t>(units[i * 4 + b]);
      units_[i] = unit;
    }
  }

  void check() {
    if (rules_from(offset(units_[0]), 0) > kMaxRulesAlongAPath)
      bad(name_, "its normaliser's rules nest too deep");
  }

 private:
  static constexpr int kUnknown = -1, kOpen = -2;

  static size_t offset(uint32_t unit) { return size_t{unit >> 10} << ((unit & 0x200u) >> 6); }

  /// The most rules on a path from the node whose child c is at base ^ c. Endings are shared, so a node has
  /// many parents: each is walked once.
  int rules_from(size_t base, int depth) {
    if ((base | 0xFF) >= units_.size()) bad(name_, "its normaliser's table leads out of itself");
    if (depth > kMaxRuleBytes) bad(name_, "its normaliser has a rule that is too long");
    int most = 0;
    for (size_t c = 0; c < 256; ++c) {
      const size_t child = base ^ c;
      const uint32_t unit = units_[child];
      if ((unit & 0x800000FFu) != c) continue;
      if (rules_[child] == kOpen) bad(name_, "its normaliser's table runs in a circle");
      if (rules_[child] == kUnknown) {
        rules_[child] = kOpen;
        const size_t next = child ^ offset(unit);
        const bool ends_a_rule = (unit >> 8 & 1) != 0;
        if (ends_a_rule) check_rule(next);
        rules_[child] = ends_a_rule + rules_from(next, depth + 1);
      }
      most = std::max(most, rules_[child]);
    }
    return most;
  }

  void check_rule(size_t base) const {
    if (base >= units_.size()) bad(name_, "its normaliser's table leads out of itself");
    const size_t begin = units_[base] & 0x7FFFFFFFu;
    const size_t end = replacements_.find('\0', std::min(begin, replacements_.size()));
    if (end == std::string_view::npos || (begin > 0 && replacements_[begin - 1] != '\0'))
      bad(name_, "its normaliser names a replacement that is not there");
    const std::string_view text = replacements_.substr(begin, end - begin);
    if (text.size() > kMaxReplacementBytes || first_invalid_utf8(text))
      bad(name_, "its normaliser has a replacement that is not text");
  }

  std::vector<uint32_t> units_;
  std::vector<int> rules_;  // of each unit as a node: the most rules on a path through it
  std::string_view replacements_;
  const std::string& name_;
};

void check_normaliser(std::string_view bytes, const std::string& name) {
  Once once(name);
  for (Message message(bytes, name); message.next();) {
    once(message.field());
    if (message.field() == 2 && !message.bytes().empty()) {
      const std::string_view table = message.bytes();  // bytes of the trie, trie, replacements
      if (table.size() < 4) bad(name, "its normaliser's table is truncated");
      uint32_t size = 0;
      for (int b = 3; b >= 0; --b) size = size << 8 | static_cast<uint8_t>(table[b]);
      if (size >= table.size() - 4) bad(name, "its normaliser's table is truncated");
      Trie(table.substr(4, size), table.substr(4 + size), name).check();
    } else if (message.field() == 5 && message.number() == 0) {
      bad(name, "its normaliser does not mark spaces");
    }
  }
}

}  // namespace

void check_sentencepiece_model(std::string_view serialized, const std::string& name) {
  if (serialized.empty()) bad(name, "it is empty");
  if (serialized.size() > kMaxModelBytes)
    bad(name, serialized.size(), " bytes, expected at most ", kMaxModelBytes);
  Vocabulary vocabulary;
  Settings settings;
  Once once(name);
  for (Message message(serialized, name); message.next();) {
    if (message.field() != 1) once(message.field());
    switch (message.field()) {
      case 1:
        read_piece(message.bytes(), name, vocabulary);
        break;
      case 2:
        settings = read_settings(message.bytes(), name);
        break;
      case 3:
        check_normaliser(message.bytes(), name);
        break;
      default:  // 4 would be run on loading, 5 changes what decoding gives back
        bad(name, "field ", message.field(), ", which Lexel does not read");
    }
  }
  if (settings.model_type != 1)
    bad(name, "model type ", settings.model_type, ", expected 1 (unigram)");
  if (settings.space_behind) bad(name, "spaces stand behind words, expected before them");
  if (!settings.byte_fallback ||
      std::find(vocabulary.bytes.begin(), vocabulary.bytes.end(), false) != vocabulary.bytes.end())
    bad(name, "it has no byte fallback, so that some captions would be unknown");
  if (vocabulary.normal == 0) bad(name, "it has no piece of text");
  if (vocabulary.unknowns != 1 || vocabulary.unknown != settings.unknown)
    bad(name, "expected one unknown symbol, \"", settings.unknown, "\"");
  for (const std::string_view symbol : {settings.padding, settings.end, settings.beginning})
    if (!vocabulary.controls.contains(symbol)) bad(name, "it has no symbol \"", symbol, "\"");
}

}  // namespace lexel
