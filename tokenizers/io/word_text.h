#pragma once

#include <string>

#include "tokenizers/image_tokenizer.h"
#include "tokenizers/io/token_file.h"

namespace lexel {

/// Tokens as their words, a layer a line, for people and for language models:
///   # codebook 3f0c...          the codebook's fingerprint
///   # fit crop                  how pictures met the model's square
///   # picture 640x480 cat.jpg   then its layers
///   cat
///   dog pet cat animal
/// A picture of several tiles has "# tile" between them.
///
/// info     of the model that made the tokens
/// throws   Error(kUsage) a model whose codes are not words; what write_token_file throws
std::string words_of_tokens(const TokenFile& file, const TokenizerInfo& info);

/// The inverse, exact. Lines break at will: words are counted. Without "# picture" lines the words are one picture of the
/// model's size, named "words"; without "# fit" it is the model's own; other lines that start with "# " are remarks.
///
/// name     of the text, for messages
/// throws   Error(kUsage) as above; Error(kBadData) naming the line: a word that the model does not have, a head that cannot be
///          read, another codebook; naming the picture: words that end in the middle of a layer, another number of
///          layers than the pictures before, another number of tiles than its size has
TokenFile tokens_of_words(const std::string& text, const TokenizerInfo& info,
                          const std::string& name);

}  // namespace lexel
