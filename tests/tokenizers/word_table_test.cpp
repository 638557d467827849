#include "tokenizers/word_table.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <cmath>
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"
#include "tests/support/temporary_folder.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/safetensors.h"

namespace lexel {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;
using tests::expect_error;
using Tensors = std::map<std::string, at::Tensor>;

at::Tensor text(const std::string& value) {
  return at::tensor(std::vector<uint8_t>(value.begin(), value.end()), at::kByte);
}

Tensors good() {
  return {{"words", text(R"(["cat","dog","red"])")},
          {"ids", at::tensor({7, 5, 9}, at::kInt)},
          {"vectors", tests::random_tensor(1, {3, 4}).to(at::kHalf)},
          {"stand_ins", text(R"({"kitten":[0,1],"crimson":[2]})")}};
}

class WordTable : public testing::Test {
 protected:
  std::string write(const Tensors& tensors) {
    const std::string path = folder_ / "words.safetensors";
    write_safetensors(path, {{"lexel.table", "{}"}}, tensors);
    return path;
  }
  template <class Change>
  void rejects(const std::string& message, const Change& change) {
    Tensors tensors = good();
    change(tensors);
    const std::string path = write(tensors);
    expect_error(ErrorKind::kBadData, message, [&] { read_word_table(path); });
  }

  tests::TemporaryFolder folder_;
};

TEST_F(WordTable, IsReadAsItWasWritten) {
  const Tensors tensors = good();
  const WordTableFile file = read_word_table(write(tensors));
  EXPECT_THAT(file.table.words, ElementsAre("cat", "dog", "red"));
  EXPECT_TRUE(at::equal(file.table.ids, at::tensor({7, 5, 9}, at::kLong)));
  EXPECT_TRUE(at::equal(file.table.vectors, tensors.at("vectors").to(at::kFloat)));
  EXPECT_THAT(file.stand_ins,
              ElementsAre(Pair("crimson", ElementsAre(2)), Pair("kitten", ElementsAre(0, 1))));
  EXPECT_EQ(file.metadata.at("lexel.table"), "{}");
}

TEST_F(WordTable, NeedsNoStandIns) {
  Tensors tensors = good();
  tensors.erase("stand_ins");
  EXPECT_TRUE(read_word_table(write(tensors)).stand_ins.empty());
}

TEST_F(WordTable, NamedVectorsNeedNoIds) {
  Tensors tensors = good();
  tensors.erase("ids");
  tensors.erase("stand_ins");
  const NamedVectors classes = read_named_vectors(write(tensors));
  EXPECT_EQ(classes.names.size(), 3U);
  EXPECT_EQ(classes.vectors.scalar_type(), at::kFloat);
}

TEST_F(WordTable, RejectsWhatCannotBe) {
  rejects("\"words\" is missing", [](Tensors& t) { t.erase("words"); });
  rejects("\"ids\" is missing", [](Tensors& t) { t.erase("ids"); });
  rejects("\"words\" is not JSON", [](Tensors& t) { t["words"] = text(R"(["cat","dog)"); });
  rejects("bytes of text", [](Tensors& t) { t["words"] = at::zeros({3}, at::kInt); });
  rejects("an array of 1 to", [](Tensors& t) { t["words"] = text("[]"); });
  rejects("number 1 is not a text", [](Tensors& t) { t["words"] = text(R"(["cat",2,"red"])"); });
  rejects("\"cat\" twice", [](Tensors& t) { t["words"] = text(R"(["cat","cat","red"])"); });
  rejects("expected 3 whole numbers", [](Tensors& t) { t["ids"] = at::zeros({2}, at::kInt); });
  rejects("each once, got 7", [](Tensors& t) { t["ids"] = at::tensor({7, 7, 9}, at::kLong); });
  rejects("\"vectors\": expected floats of shape [3", [](Tensors& t) {
    t["vectors"] = at::zeros({2, 4}, at::kFloat);
  });
  rejects("\"vectors\" holds a value that is not finite", [](Tensors& t) {
    t["vectors"] = at::full({3, 4}, NAN, at::kFloat);
  });
  rejects("\"stand_ins\" is not a JSON object", [](Tensors& t) { t["stand_ins"] = text("[1]"); });
  rejects("expected rows below 3, got 3",
          [](Tensors& t) { t["stand_ins"] = text(R"({"kitten":[3]})"); });
  rejects("expected rows below 3, got -1",
          [](Tensors& t) { t["stand_ins"] = text(R"({"kitten":[-1]})"); });
  rejects("\"kitten\" has no rows", [](Tensors& t) { t["stand_ins"] = text(R"({"kitten":[]})"); });
}

TEST_F(WordTable, TheShippedOneHasEnglishWordsOfLlama) {
  const std::string path = LEXEL_SOURCE_DIR "/assets/words-llama.safetensors";
  EXPECT_LE(std::filesystem::file_size(path), 5'000'000U);
  const WordTableFile file = read_word_table(path);
  EXPECT_EQ(file.table.words.size(), 5452U);
  EXPECT_EQ(file.table.vectors.sizes(), at::IntArrayRef({5452, 384}));
  EXPECT_LT(file.table.ids.max().item<int64_t>(), 32000);
  const spae::LexicalCodebook codebook = spae::make_lexical_codebook(file.table, 32);
  // What the codes are for: a cat's neighbours are animals, red's are colours.
  const auto nearest = [&](const std::string& word) {
    const auto row = std::find(codebook.words.begin(), codebook.words.end(), word);
    EXPECT_NE(row, codebook.words.end());
    const at::Tensor own = codebook.codes.select(0, row - codebook.words.begin());
    const at::Tensor order = codebook.codes.mv(own).argsort(0, /*descending=*/true);
    std::vector<std::string> words;
    for (int64_t i = 1; i <= 8; ++i)
      words.push_back(codebook.words[static_cast<size_t>(order[i].item<int64_t>())]);
    return words;
  };
  EXPECT_THAT(nearest("cat"), testing::Contains("dog"));
  EXPECT_THAT(nearest("red"), testing::Contains(testing::AnyOf("blue", "yellow", "white")));
}

TEST_F(WordTable, TheShippedClassesAreThoseOfImageNet) {
  const NamedVectors classes =
      read_named_vectors(LEXEL_SOURCE_DIR "/assets/imagenet-classes.safetensors");
  EXPECT_EQ(classes.vectors.sizes(), at::IntArrayRef({1000, 384}));
  EXPECT_EQ(classes.names[281], "tabby");
}

}  // namespace
}  // namespace lexel
