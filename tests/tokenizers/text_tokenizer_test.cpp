#include "tokenizers/text_tokenizer.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"
#include "tests/tokenizers/tiny_captions.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/sha256.h"
#include "tokenizers/sentencepiece_tokenizer.h"

namespace lexel {
namespace {

using tests::expect_error;

const TextTokenizer& english() {
  static const auto tokenizer = text_tokenizer_from_bytes(tests::english_model(), "english");
  return *tokenizer;
}

struct Script {
  const char* name;
  const char* text;  // NFKC already, lower case, single spaces: it must come back as it is
};
std::string script_name(const testing::TestParamInfo<Script>& info) { return info.param.name; }

class Scripts : public testing::TestWithParam<Script> {};

TEST_P(Scripts, ComeBackThroughBytes) {
  const std::string text = GetParam().text;
  const std::vector<int64_t> ids = english().encode(text);
  EXPECT_EQ(english().decode(ids), text);
  for (const int64_t id : ids) EXPECT_NE(id, english().symbols().unknown);
}

INSTANTIATE_TEST_SUITE_P(
    TextTokenizer, Scripts,
    testing::Values(Script{"English", "a red fish above a house"},
                    Script{"FrenchAndPolish", "le garçon mange à l'été; zażółć gęślą jaźń"},
                    Script{"Vietnamese", "con mèo đỏ ở trên ngôi nhà"},
                    Script{"Greek", "ένα κόκκινο ψάρι πάνω από ένα σπίτι"},
                    Script{"Cyrillic", "красная рыба над домом, ёжик"},
                    Script{"Armenian", "կարմիր ձուկ"}, Script{"Georgian", "წითელი თევზი"},
                    Script{"Arabic", "سمكة حمراء فوق منزل"}, Script{"Hebrew", "דג אדום מעל בית"},
                    Script{"Hindi", "घर के ऊपर एक लाल मछली"}, Script{"Tamil", "ஒரு சிவப்பு மீன்"},
                    Script{"Thai", "ปลาแดงเหนือบ้าน"}, Script{"Amharic", "ቀይ ዓሣ"},
                    Script{"Chinese", "房子上方的一条红鱼"},
                    Script{"RareChinese", "\U00020000\U0002A6D6"},
                    Script{"Japanese", "家の上の赤い魚とカニ"},
                    Script{"Korean", "집 위의 빨간 물고기"}, Script{"Emoji", "🐟 🏠 😀"},
                    Script{"Mixed", "ein roter fisch 赤い魚 над 집 🐟 שלום"}),
    script_name);

TEST(TextTokenizer, TextIsNormalisedAndCaseFolded) {
  EXPECT_EQ(english().decode(english().encode("  A  RED\tFish \n")), "a red fish");
  EXPECT_EQ(english().decode(english().encode("\uFF26\uFF49\uFF53\uFF48 \u2460 \uFB01n")),
            "fish 1 fin");                                               // wide, circled, ligature
  EXPECT_EQ(english().encode("e\u0301t"), english().encode("\u00e9t"));  // composed
}

TEST(TextTokenizer, TextThatLooksLikeASymbolIsText) {
  for (const char* text : {"</s>", "<pad>", "<s> fish", "<unk>", "<0x41>"}) {
    for (const int64_t id : english().encode(text)) {
      EXPECT_GT(id, english().symbols().unknown) << text;
    }
    EXPECT_EQ(english().decode(english().encode(text)), text);
  }
}

TEST(TextTokenizer, SymbolsStandFirstAndBytesBehindThem) {
  const TextSymbols symbols = english().symbols();
  EXPECT_EQ(symbols.padding, 0);
  EXPECT_EQ(symbols.end, 1);
  EXPECT_EQ(symbols.beginning, 2);
  EXPECT_EQ(symbols.unknown, 3);
  int64_t bytes = 0;
  for (int64_t id = -1; id <= english().vocabulary_size(); ++id) bytes += english().is_byte(id);
  EXPECT_EQ(bytes, 256);
  EXPECT_EQ(english().piece(4), "<0x00>");
  EXPECT_FALSE(english().is_byte(english().encode("fish").front()));
}

TEST(TextTokenizer, EmptyTextHasNoPieces) {
  for (const char* text : {"", "   ", "\t\r\n", "\u200b"})
    EXPECT_TRUE(english().encode(text).empty());
  EXPECT_EQ(english().decode({}), "");
}

TEST(TextTokenizer, ControlCharactersAndNulDoNoHarm) {
  EXPECT_EQ(english().decode(english().encode(std::string_view("a\0b\x01 c", 6))),
            std::string_view("a\0b c", 5));
}

TEST(TextTokenizer, InvalidUtf8IsRefusedAtItsByte) {
  expect_error(ErrorKind::kBadData, "text is not UTF-8 at byte 4",
               [] { english().encode("red \xFF fish"); });
  expect_error(ErrorKind::kBadData, "caption 1: text is not UTF-8 at byte 0", [] {
    encode_captions(english(), {"fish", "\xC3"}, 8);
  });
}

TEST(TextTokenizer, DecodingStopsAtTheEndAndRefusesStrangeIds) {
  std::vector<int64_t> ids = english().encode("red fish");
  const TextSymbols symbols = english().symbols();
  ids.insert(ids.begin(), symbols.beginning);
  ids.push_back(symbols.end);
  for (const int64_t id : english().encode("house")) ids.push_back(id);
  EXPECT_EQ(english().decode(ids), "red fish");
  expect_error(ErrorKind::kBadData, "text id -1", [] { english().decode({-1}); });
  expect_error(ErrorKind::kBadData, "outside of the vocabulary",
               [] { english().decode({english().vocabulary_size()}); });
  expect_error(ErrorKind::kBadData, "text id 99999", [] { english().piece(99999); });
}

TEST(TextTokenizer, ACharacterCutInHalfDecodesToTheReplacementCharacter) {
  std::vector<int64_t> ids = english().encode("魚");
  ids.pop_back();
  EXPECT_NE(english().decode(ids).find("\uFFFD"), std::string::npos);
}

TEST(EncodeCaptions, RowsEndThenPad) {
  const EncodedCaptions batch = encode_captions(english(), {"a red fish", "", "house"}, 16);
  ASSERT_EQ(batch.ids.sizes(), (at::IntArrayRef{3, 16}));
  EXPECT_EQ(batch.ids.scalar_type(), at::kLong);
  EXPECT_FALSE(batch.any_cut());
  EXPECT_EQ(batch.lengths[1].item<int64_t>(), 1);  // the end symbol alone
  for (int64_t b = 0; b < 3; ++b) {
    const int64_t length = batch.lengths[b].item<int64_t>();
    EXPECT_EQ(batch.ids[b][length - 1].item<int64_t>(), english().symbols().end);
    EXPECT_TRUE(batch.ids[b].slice(0, length).eq(english().symbols().padding).all().item<bool>());
  }
}

TEST(EncodeCaptions, TenThousandWordsAreCutAndMarked) {
  std::string flood;
  for (int i = 0; i < 10'000; ++i) flood += "fish above a house ";
  const EncodedCaptions batch = encode_captions(english(), {flood, "fish"}, 128);
  EXPECT_EQ(batch.cut, (std::vector<bool>{true, false}));
  EXPECT_TRUE(batch.any_cut());
  EXPECT_EQ(batch.lengths[0].item<int64_t>(), 128);
  EXPECT_EQ(batch.ids[0][127].item<int64_t>(), english().symbols().end);
}

TEST(EncodeCaptions, ACaptionThatJustFitsIsNotCut) {
  const auto pieces = static_cast<int64_t>(english().encode("a red fish").size());
  EXPECT_FALSE(encode_captions(english(), {"a red fish"}, pieces + 1).any_cut());
  EXPECT_TRUE(encode_captions(english(), {"a red fish"}, pieces).any_cut());
  EXPECT_EQ(encode_captions(english(), {"a red fish"}, 1).ids.item<int64_t>(),
            english().symbols().end);
  expect_error(ErrorKind::kUsage, "expected max_tokens >= 1, got 0",
               [] { encode_captions(english(), {"a"}, 0); });
}

TEST(EncodeCaptions, NoCaptionIsAnEmptyBatch) {
  EXPECT_EQ(encode_captions(english(), {}, 8).ids.sizes(), (at::IntArrayRef{0, 8}));
}

TEST(TextTokenizer, FileAndTensorGiveTheSameModel) {
  const tests::TemporaryFolder folder;
  const std::string path = (folder / "text.model").string();
  write_file(path, tests::english_model());
  const auto from_file = load_text_tokenizer(path);
  const std::map<std::string, at::Tensor> tensors = {
      {kTextTokenizerTensor, text_tokenizer_tensor(english())}, {"more", at::empty({1})}};
  std::map<std::string, at::Tensor> rest = tensors;
  const auto from_tensor = take_text_tokenizer(rest, english().vocabulary_size(), "file");
  EXPECT_EQ(rest.size(), 1U);
  EXPECT_EQ(from_file->serialized(), tests::english_model());
  EXPECT_EQ(from_tensor->serialized(), tests::english_model());
  EXPECT_EQ(from_file->fingerprint(),
            sha256(tests::english_model().data(), tests::english_model().size()));
  EXPECT_EQ(from_tensor->encode("a red fish"), english().encode("a red fish"));
  expect_error(ErrorKind::kIo, "absent.model",
               [&] { load_text_tokenizer((folder / "absent.model").string()); });
  const auto refused = [](const std::string& words, std::map<std::string, at::Tensor> of) {
    expect_error(ErrorKind::kBadData, words, [&] { take_text_tokenizer(of, 7, "file"); });
  };
  refused("file: tensor \"text_tokenizer\" is missing", {});
  refused("file: text_tokenizer: not a text tokenizer: expected a row of uint8",
          {{kTextTokenizerTensor, at::empty({2, 2})}});
  refused(concat("file: expected a text tokenizer of 7 pieces, got ", english().vocabulary_size()),
          tensors);
}

}  // namespace
}  // namespace lexel
