#include "tokenizers/io/word_text.h"

#include <ATen/ops/tensor.h>
#include <charconv>
#include <sstream>
#include <unordered_map>
#include <utility>
#include <vector>

#include "kernels/check.h"
#include "spae/pyramid.h"
#include "tokenizers/io/token_check.h"

namespace lexel {
namespace {

void check_words(const TokenizerInfo& info, const char* function) {
  check_arg(!info.words.empty() && !info.layer_sides.empty(), function,
            "expected a model whose codes are words, got ", info.name, " of kind ", info.kind);
}

/// "cat <bell>" shown in a message: cut, and without control characters, which could move a terminal's cursor.
std::string shown(const std::string& text) {
  std::string result = text.size() <= 40 ? text : text.substr(0, 40) + "...";
  for (char& c : result) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return result;
}

/// A name on a line of its own.
std::string one_line(std::string name) {
  for (char& c : name) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  return name;
}

/// What the text says of one picture, so far.
struct Block {
  std::string name;
  int64_t width, height;
  std::vector<std::vector<int64_t>> tiles = {{}};
};

class Parser {
 public:
  Parser(const TokenizerInfo& info, const std::string& name)
      : info_(info), name_(name), file_(empty_token_file(info)) {
    for (size_t id = 0; id < info.words.size(); ++id) {
      ids_.emplace(info.words[id], static_cast<int64_t>(id));
    }
  }

  TokenFile parse(const std::string& text) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      ++line_;
      if (line.starts_with("# ")) {
        read_head(line.substr(2));
      } else {
        read_words(line);
      }
    }
    check(!blocks_.empty(), ErrorKind::kBadData, name_, ": no words in it");
    for (const Block& block : blocks_) add_picture(block);
    return std::move(file_);
  }

 private:
  template <class... Parts>
  void check_line(bool ok, const Parts&... parts) const {
    check(ok, ErrorKind::kBadData, name_, ": line ", line_, ": ", parts...);
  }

  void read_head(const std::string& head) {
    std::istringstream parts(head);
    std::string key, value;
    parts >> key;
    if (key == "codebook") {
      parts >> value;
      check_line(value == info_.codebook_fingerprint, "the words are of another codebook, ",
                 shown(value), ", than ", info_.name, " has: ", info_.codebook_fingerprint);
    } else if (key == "fit") {
      parts >> value;
      check_line(blocks_.empty(), "expected \"# fit\" before the first picture");
      file_.preprocess.fit = value;
      try {
        validate(file_.preprocess);
      } catch (const Error& error) {
        check_line(false, error.what());
      }
    } else if (key == "picture") {
      parts >> value;
      Block block{"", 0, 0};
      read_size(value, block);
      std::getline(parts >> std::ws, block.name);
      blocks_.push_back(std::move(block));
    } else if (key == "tile") {
      check_line(!blocks_.empty(), "expected \"# picture\" before \"# tile\"");
      blocks_.back().tiles.emplace_back();
    }
  }

  void read_size(const std::string& value, Block& block) const {
    const char* const end = value.data() + value.size();
    const auto width = std::from_chars(value.data(), end, block.width);
    const bool cross = width.ec == std::errc() && width.ptr != end && *width.ptr == 'x';
    const auto height = cross ? std::from_chars(width.ptr + 1, end, block.height) : width;
    check_line(cross && height.ec == std::errc() && height.ptr == end,
               "expected \"# picture WIDTHxHEIGHT NAME\", got \"", shown(value), "\"");
  }

  void read_words(const std::string& line) {
    std::istringstream parts(line);
    for (std::string word; parts >> word;) {
      const auto found = ids_.find(word);
      check_line(found != ids_.end(), "\"", shown(word), "\" is not one of the ", ids_.size(),
                 " words of ", info_.name);
      if (blocks_.empty()) blocks_.push_back({"words", info_.image_size, info_.image_size});
      blocks_.back().tiles.back().push_back(found->second);
    }
  }

  void add_picture(const Block& block) {
    const auto check_picture = [&](bool ok, const auto&... parts) {
      check(ok, ErrorKind::kBadData, name_, ": picture \"", shown(block.name), "\": ", parts...);
    };
    TokenizedPicture picture;
    picture.name = block.name;
    const spae::Pyramid pyramid = spae::make_pyramid(info_.layer_sides);
    int64_t layers = 0;
    try {
      picture.layout = make_layout(block.width, block.height, file_.preprocess);
      layers = pyramid.layers_of(static_cast<int64_t>(block.tiles.front().size()));
    } catch (const Error& error) {
      check_picture(false, error.what());
    }
    const auto tiles = static_cast<size_t>(picture.layout.columns * picture.layout.rows);
    check_picture(block.tiles.size() == tiles, "expected ", tiles, " tiles, got ",
                  block.tiles.size());
    if (file_.pictures.empty()) {
      file_.layer_sides.resize(static_cast<size_t>(layers));
    }
    std::vector<int64_t> ids;
    for (const std::vector<int64_t>& tile : block.tiles) {
      check_picture(static_cast<int64_t>(tile.size()) == file_.tokens(), "expected ",
                    file_.tokens(), " words (", file_.layer_sides.size(),
                    " layers), as before, got ", tile.size());
      ids.insert(ids.end(), tile.begin(), tile.end());
    }
    picture.tokens = at::tensor(ids, at::kInt).reshape({static_cast<int64_t>(tiles), -1});
    file_.pictures.push_back(std::move(picture));
  }

  const TokenizerInfo& info_;
  const std::string& name_;
  TokenFile file_;
  std::unordered_map<std::string, int64_t> ids_;
  std::vector<Block> blocks_;
  int64_t line_ = 0;
};

}  // namespace

std::string words_of_tokens(const TokenFile& file, const TokenizerInfo& info) {
  check_words(info, "words_of_tokens");
  check_token_file(file);
  check_same_tokenizer(file, info);
  std::string out =
      concat("# codebook ", file.codebook_fingerprint, "\n# fit ", file.preprocess.fit, "\n");
  for (const TokenizedPicture& picture : file.pictures) {
    out += concat("# picture ", picture.layout.width, "x", picture.layout.height, " ",
                  one_line(picture.name), "\n");
    for (int64_t tile = 0; tile < picture.tokens.size(0); ++tile) {
      if (tile > 0) out += "# tile\n";
      const at::Tensor ids = picture.tokens.select(0, tile).contiguous();
      const int32_t* id = ids.const_data_ptr<int32_t>();
      for (const int64_t side : file.layer_sides) {
        for (int64_t n = 0; n < side * side; ++n) {
          if (n > 0) out += ' ';
          out += info.words[static_cast<size_t>(*id++)];
        }
        out += '\n';
      }
    }
  }
  return out;
}

TokenFile tokens_of_words(const std::string& text, const TokenizerInfo& info,
                          const std::string& name) {
  check_words(info, "tokens_of_words");
  return Parser(info, name).parse(text);
}

}  // namespace lexel
