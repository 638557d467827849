#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tokenizers/word_table.h"

namespace lexel::data {

/// What a captioned picture shows, as rows of a word table.
struct PictureWords {
  std::vector<int64_t>
      names;  // words of the caption, in its order, each once; none: it has words of other vocabularies
  std::vector<int64_t>
      others;  // of keywords and folders, and stand-ins for what the table lacks; none of `names`
  std::string subject;    // the names' words, sorted: what is held out together
  double weight = 1.0;    // in a training: less where captions seldom say what is seen
  bool held_out = false;  // a tenth of the subjects, by a hash of the subject
};

/// Finds a table's words in captions.
class WordFinder {
 public:
  /// `file` is not kept.
  explicit WordFinder(const WordTableFile& file);

  /// Words of a picture by the JSON that lies beside it (lexel data fetch). Captions of drawings and emoji name what is
  /// seen, and so does the first word of a clip art's file name; other kinds and skin tones give nothing. Plurals are taken as their singulars where the table has these, articles
  /// and the like are left out. A picture without a name has no subject and is never held out: the words that stand in for
  /// "leopard" are good enough to learn from, not to judge by.
  ///
  /// json     text of the object; its "kind", "caption", "keywords" and "source" count
  /// throws   Error(kBadData) when it is no JSON object
  PictureWords words_of(const std::string& json) const;

  const std::vector<std::string>& words() const { return words_; }

 private:
  int64_t row_of(const std::string& word) const;  // -1: none
  void add(const std::string& text, std::vector<int64_t>& rows, std::vector<int64_t>& near) const;

  std::vector<std::string> words_;
  std::map<std::string, int64_t> rows_;
  std::map<std::string, std::vector<int64_t>> stand_ins_;
};

/// A tenth of all subjects, by a hash: every picture of one lies on the same side, whoever drew it.
bool is_held_out_subject(const std::string& subject);

}  // namespace lexel::data
