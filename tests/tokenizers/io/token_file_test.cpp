#include "tokenizers/io/token_file.h"

#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <cstdlib>
#include <filesystem>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"
#include "tests/support/temporary_folder.h"
#include "tests/tokenizers/io/raw_safetensors.h"
#include "tokenizers/image_tokenizer.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/safetensors.h"

namespace lexel {
namespace {

using tests::expect_error;
using tests::TemporaryFolder;

TokenFile sample(int64_t codes = 100, const std::string& fit = "tiles") {
  TokenFile file;
  file.tokenizer_kind = "vit_vqgan";
  file.codebook_fingerprint = std::string(64, 'a');
  file.model_name = "m.safetensors";
  file.codebook_size = codes;
  file.grid_height = 2;
  file.grid_width = 3;
  file.preprocess.image_size = 32;
  file.preprocess.fit = fit;
  for (const auto& [width, height] : {std::pair(70, 40), std::pair(32, 32), std::pair(5, 9)}) {
    TokenizedPicture picture;
    picture.name = "caf\xc3\xa9/" + std::to_string(width) + ".jpg";
    picture.layout = make_layout(width, height, file.preprocess);
    picture.tokens = tests::random_ids(static_cast<uint64_t>(width),
                                       {picture.layout.columns * picture.layout.rows, 6}, codes)
                         .to(at::kInt);
    file.pictures.push_back(picture);
  }
  return file;
}

/// The tensors and metadata of a good file, to spoil one and write it back.
struct Parts {
  std::map<std::string, std::string> metadata;
  std::map<std::string, at::Tensor> tensors;
};

class TokenFileTest : public ::testing::Test {
 protected:
  Parts parts() {
    write_token_file(path_, sample());
    const SafetensorsFile file(path_);
    return {file.metadata(), file.tensors()};
  }
  void expect_bad(const Parts& p, const std::string& words, ErrorKind kind = ErrorKind::kBadData) {
    write_safetensors(path_, p.metadata, p.tensors);
    expect_error(kind, words, [&] { read_token_file(path_); });
  }
  const TemporaryFolder folder_;
  const std::string path_ = folder_ / "t.tok.safetensors";
};

TEST_F(TokenFileTest, KeepsCaptionsAndClasses) {
  TokenFile file = sample();
  file.pictures[0].caption = "a red \xf0\x9f\x90\x9f, \"quoted\"";
  file.pictures[2].label = 7;
  write_token_file(path_, file);
  const TokenFile back = read_token_file(path_);
  EXPECT_EQ(back.pictures[0].caption, file.pictures[0].caption);
  EXPECT_EQ(back.pictures[1].caption, "");
  EXPECT_EQ(back.pictures[1].label, -1);
  EXPECT_EQ(back.pictures[2].label, 7);
  write_token_file(path_, sample());
  EXPECT_EQ(SafetensorsFile(path_).metadata().count("lexel.captions"), 0u);
}

TEST_F(TokenFileTest, RefusesLabelsThatDoNotFitThePictures) {
  Parts p = parts();
  p.metadata["lexel.captions"] = R"(["one", "two"])";
  expect_bad(p, "lexel.captions: expected one of each of 3 pictures, got 2");
  p = parts();
  p.metadata["lexel.captions"] = R"(["one", "two", 3])";
  expect_bad(p, "lexel.captions: expected text, got number");
  p = parts();
  p.metadata["lexel.captions"] = R"({"one": 1})";
  expect_bad(p, "lexel.captions is not a list");
  p = parts();
  p.metadata["lexel.classes"] = "[1, 2, 1e300]";
  expect_bad(p, "lexel.classes: expected whole numbers from -1");
  p = parts();
  p.metadata["lexel.classes"] = "[1, 2, -2]";
  expect_bad(p, "lexel.classes: expected whole numbers from -1");
}

TEST_F(TokenFileTest, ComesBackEqual) {
  for (const int64_t codes : {100, 65536, 65537}) {
    const TokenFile written = sample(codes);
    write_token_file(path_, written);
    const TokenFile read = read_token_file(path_);
    EXPECT_EQ(read.tokenizer_kind, written.tokenizer_kind);
    EXPECT_EQ(read.codebook_fingerprint, written.codebook_fingerprint);
    EXPECT_EQ(read.model_name, written.model_name);
    EXPECT_EQ(read.codebook_size, codes);
    EXPECT_EQ(read.grid_height, 2);
    EXPECT_EQ(read.grid_width, 3);
    EXPECT_EQ(read.preprocess, written.preprocess);
    ASSERT_EQ(read.pictures.size(), 3U);
    for (size_t k = 0; k < 3; ++k) {
      EXPECT_EQ(read.pictures[k].name, written.pictures[k].name);
      EXPECT_EQ(read.pictures[k].layout, written.pictures[k].layout);
      EXPECT_EQ(read.pictures[k].tokens.scalar_type(), at::kInt);
      EXPECT_TRUE(read.pictures[k].tokens.equal(written.pictures[k].tokens));
    }
    const at::ScalarType stored = SafetensorsFile(path_).entries().at("tokens").dtype;
    EXPECT_EQ(stored, codes <= 65536 ? at::kUInt16 : at::kInt);
  }
}

TEST_F(TokenFileTest, NoPicturesIsAFileToo) {
  TokenFile file = sample();
  file.pictures.clear();
  write_token_file(path_, file);
  EXPECT_TRUE(read_token_file(path_).pictures.empty());
}

TEST_F(TokenFileTest, IdPastTheCodebookNamesThePicture) {
  Parts p = parts();
  const at::Tensor ids = p.tensors["tokens"].to(at::kInt);
  ids[6][2].fill_(100);  // the picture of 70 x 40 has 6 tiles
  p.tensors["tokens"] = ids.to(at::kUInt16);
  expect_bad(p, "32.jpg\": expected ids in 0 to 99, got 100");
}

TEST_F(TokenFileTest, NegativeIdIsRefused) {
  write_token_file(path_, sample(70000));
  const SafetensorsFile file(path_);
  Parts p{file.metadata(), file.tensors()};
  p.tensors["tokens"][0][0].fill_(-1);
  expect_bad(p, "expected ids in 0 to 69999, got -1");
}

TEST_F(TokenFileTest, DamagedTokensAreFoundByTheirChecksum) {
  Parts p = parts();
  const at::Tensor ids = p.tensors["tokens"].to(at::kInt);
  ids[0][0].fill_((ids[0][0].item<int64_t>() + 1) % 100);
  p.tensors["tokens"] = ids.to(at::kUInt16);
  expect_bad(p, "70.jpg\": its checksum does not match");
}

TEST_F(TokenFileTest, OffsetsAndSizesThatContradict) {
  for (const int64_t value : {int64_t{-1}, int64_t{5}, int64_t{7}, INT64_MAX, INT64_MIN}) {
    Parts p = parts();
    p.tensors["offsets"][1].fill_(value);
    expect_bad(p, "70.jpg\": expected 6 tiles");
  }
  Parts p = parts();
  p.tensors["offsets"][3].fill_(9);
  expect_bad(p, "offsets go from 0 to 9");
  for (const int64_t width : {int64_t{0}, int64_t{-4}, int64_t{33}, INT64_MAX}) {
    p = parts();
    p.tensors["sizes"][1][0].fill_(width);
    expect_bad(p, "32.jpg\": ");
  }
}

TEST_F(TokenFileTest, MissingAndMisshapenTensorsAreNamed) {
  for (const char* key : {"tokens", "offsets", "sizes", "checksums"}) {
    Parts p = parts();
    p.tensors.erase(key);
    expect_bad(p, std::string("tensor \"") + key + "\"");
    p = parts();
    p.tensors[key] = at::zeros({3, 5});
    expect_bad(p, std::string("tensor \"") + key + "\"");
  }
  Parts p = parts();
  p.tensors["more"] = at::zeros({1});
  expect_bad(p, "expected 4 tensors, got 5");
}

TEST_F(TokenFileTest, MetadataThatCannotBe) {
  for (const char* key :
       {"lexel.format", "lexel.kind", "lexel.config", "lexel.preprocess", "lexel.names"}) {
    Parts p = parts();
    p.metadata.erase(key);
    expect_bad(p, std::string("metadata \"") + key + "\" is missing");
  }
  const auto with = [&](const std::string& key, const std::string& value) {
    Parts p = parts();
    p.metadata[key] = value;
    return p;
  };
  expect_bad(with("lexel.kind", "vit_vqgan"), "expected tokens, got a file of kind \"vit_vqgan\"");
  expect_bad(with("lexel.format", "2"), "token format 2 is newer", ErrorKind::kUnsupported);
  expect_bad(with("lexel.format", "two"), "expected a version");
  expect_bad(with("lexel.names", "[1,2,3]"), "expected text");
  expect_bad(with("lexel.names", "[[\"a\"],\"b\",\"c\"]"), "expected text");
  expect_bad(with("lexel.names", "{}"), "not a list");
  expect_bad(with("lexel.names", "[\"a\"]"), "tensor \"offsets\": expected");
  expect_bad(with("lexel.config", "{}"), "key \"tokenizer_kind\" is missing");
  std::string config = parts().metadata["lexel.config"];
  config.replace(config.find(":100"), 4, ":0");
  expect_bad(with("lexel.config", config), "codebook_size: expected 1 to");
}

TEST_F(TokenFileTest, EveryTruncationIsRefused) {
  write_token_file(path_, sample());
  const auto whole = tests::read_bytes(path_);
  for (size_t length = 0; length < whole.size(); length += 13) {
    tests::write_bytes(path_, {whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)});
    expect_error(ErrorKind::kBadData, "t.tok.safetensors: ", [&] { read_token_file(path_); });
  }
  expect_error(ErrorKind::kIo, "absent", [&] { read_token_file(folder_ / "absent"); });
}

TEST_F(TokenFileTest, WriterRefusesWhatDoesNotFitTogether) {
  const auto refused = [&](const TokenFile& file, const std::string& words) {
    expect_error(ErrorKind::kUsage, words, [&] { write_token_file(path_, file); });
    expect_error(ErrorKind::kUsage, words, [&] { format_tokens(file, "text"); });
    EXPECT_FALSE(std::filesystem::exists(path_));
  };
  TokenFile file = sample();
  file.pictures[1].tokens = at::full({1, 6}, 100, at::kInt);
  refused(file, "expected ids in 0 to 99, got 100");
  file = sample();
  file.pictures[0].tokens = at::zeros({5, 6}, at::kInt);
  refused(file, "expected (6, 6) int32 tokens");
  file = sample();
  file.pictures[0].tokens = at::zeros({6, 6}, at::kLong);
  refused(file, "expected (6, 6) int32 tokens, got Long");
  file.pictures[0].tokens = at::Tensor();
  refused(file, "got none");
  file = sample();
  file.pictures[2].layout.left = 1;
  refused(file, "its layout is not that of 5 x 9 pixels");
  file = sample();
  file.grid_width = 0;
  refused(file, "grid_width: expected 1 to");
}

TEST(TokenFormats, TextIsOneLineOfIdsAPicture) {
  TokenFile file = sample(100, "crop");
  file.pictures.resize(2);
  file.pictures[0].tokens = at::tensor({1, 2, 3, 4, 5, 99}, at::kInt).view({1, 6});
  file.pictures[1].tokens = at::zeros({1, 6}, at::kInt);
  EXPECT_EQ(format_tokens(file, "text"), "1 2 3 4 5 99\n0 0 0 0 0 0\n");
}

TEST(TokenFormats, JsonHoldsNamesSizesAndTiles) {
  const TokenFile file = sample();
  const auto json = nlohmann::json::parse(format_tokens(file, "json"));
  EXPECT_EQ(json["codebook_size"], 100);
  EXPECT_EQ(json["preprocess"]["fit"], "tiles");
  ASSERT_EQ(json["pictures"].size(), 3U);
  EXPECT_EQ(json["pictures"][0]["width"], 70);
  EXPECT_EQ(json["pictures"][0]["columns"], 3);
  EXPECT_EQ(json["pictures"][0]["tokens"].size(), 6U);
  EXPECT_EQ(json["pictures"][0]["tokens"][5][4], file.pictures[0].tokens[5][4].item<int64_t>());
}

TEST(TokenFormats, UnknownFormatAndRaggedNpyAreUsageErrors) {
  expect_error(ErrorKind::kUsage, "expected npy, json or text, got \"csv\"",
               [] { format_tokens(sample(), "csv"); });
  expect_error(ErrorKind::kUsage, "npy: expected pictures of as many tokens each",
               [] { format_tokens(sample(), "npy"); });
}

TEST(TokenFormats, NpyHeaderIsPaddedTo64Bytes) {
  const std::string npy = format_tokens(sample(100, "crop"), "npy");
  EXPECT_EQ(npy.substr(0, 8), std::string("\x93NUMPY\x01\x00", 8));
  const size_t header = static_cast<uint8_t>(npy[8]) + 256 * static_cast<uint8_t>(npy[9]);
  EXPECT_EQ((10 + header) % 64, 0U);
  EXPECT_EQ(npy.size(), 10 + header + 3 * 6 * 2);
}

TEST_F(TokenFileTest, PythonReadsTheFileAndTheOtherForms) {
  if (!std::filesystem::exists(LEXEL_TEST_PYTHON)) GTEST_SKIP() << "no " << LEXEL_TEST_PYTHON;
  const TokenFile file = sample(100, "crop");
  write_token_file(path_, file);
  write_file(folder_ / "t.npy", format_tokens(file, "npy"));
  write_file(folder_ / "t.txt", format_tokens(file, "text"));
  write_file(folder_ / "t.json", format_tokens(file, "json"));
  const std::string program =
      "import sys, json, numpy as np; from safetensors.numpy import load_file; f = sys.argv[1]; "
      "t = load_file(f + '/t.tok.safetensors'); ids = t['tokens']; "
      "assert ids.dtype == np.uint16 and ids.shape == (3, 6), ids; "
      "assert t['offsets'].tolist() == [0, 1, 2, 3] and t['sizes'].tolist()[0] == [70, 40]; "
      "n = np.load(f + '/t.npy'); assert n.dtype == np.uint16 and (n == ids).all(); "
      "assert (np.loadtxt(f + '/t.txt', dtype=int) == ids).all(); "
      "j = json.load(open(f + '/t.json')); "
      "assert [p['tokens'][0] for p in j['pictures']] == ids.tolist()";
  const std::string command = std::string("'") + LEXEL_TEST_PYTHON + "' -c \"" + program + "\" '" +
                              folder_.path().string() + "'";
  EXPECT_EQ(std::system(command.c_str()), 0) << command;
}

TEST(CheckSameTokenizer, NamesBothModelsAndWhatDiffers) {
  const TokenFile file = sample();
  TokenizerInfo info;
  info.name = "n.safetensors";
  info.codebook_fingerprint = file.codebook_fingerprint;
  info.codebook_size = 100;
  info.grid_height = 2;
  info.grid_width = 3;
  info.image_size = 32;
  EXPECT_NO_THROW(check_same_tokenizer(file, info));
  const auto refused = [&](const TokenizerInfo& other, const std::string& words) {
    expect_error(ErrorKind::kBadData, words, [&] { check_same_tokenizer(file, other); });
  };
  TokenizerInfo other = info;
  other.codebook_fingerprint = std::string(64, 'b');
  refused(other,
          "another model: m.safetensors (codebook aaaaaaaaaaaa), this one is n.safetensors "
          "(codebook bbbbbbbbbbbb)");
  other = info;
  other.codebook_size = 99;
  refused(other, "codebook size of 100, those of n.safetensors one of 99");
  other = info;
  other.grid_height = 3;
  refused(other, "grid height of 2");
  other = info;
  other.grid_width = 2;
  refused(other, "grid width of 3");
  other = info;
  other.image_size = 64;
  refused(other, "picture size of 32");
}

}  // namespace
}  // namespace lexel
