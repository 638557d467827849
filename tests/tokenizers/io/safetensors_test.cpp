#include "tokenizers/io/safetensors.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <cstdlib>
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/philox.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"
#include "tests/support/temporary_folder.h"
#include "tests/tokenizers/io/raw_safetensors.h"

namespace lexel {
namespace {

using tests::expect_error;
using tests::raw_safetensors;
using tests::TemporaryFolder;

void expect_bad(const std::string& substring, const std::string& header, const std::string& body) {
  expect_error(ErrorKind::kBadData, substring,
               [&] { SafetensorsFile(raw_safetensors(header, body), "x"); });
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":[)" + shape +
         R"(],"data_offsets":[)" + offsets + "]}";
}

std::map<std::string, at::Tensor> one_of_each_dtype() {
  const at::Tensor values = tests::random_tensor(1, {3, 5}) * 10;
  std::map<std::string, at::Tensor> all;
  for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong,
                                    at::kInt, at::kShort, at::kChar}) {
    all[std::string("t_") + c10::toString(type)] = values.to(type);
  }
  all["t_byte"] = values.abs().to(at::kByte);
  all["t_bool"] = values > 0;
  all["t_uint16"] = values.abs().to(at::kInt).to(at::kUInt16);
  all["scalar"] = at::tensor(2.5f);
  all["empty"] = at::empty({0, 4}, at::kFloat);
  return all;
}

TEST(Safetensors, EveryDtypeComesBackEqual) {
  const auto tensors = one_of_each_dtype();
  const SafetensorsFile file(encode_safetensors({{"who", "me"}, {"text", "\"ä\"\n"}}, tensors),
                             "x");
  EXPECT_EQ(file.metadata().at("who"), "me");
  EXPECT_EQ(file.metadata().at("text"), "\"ä\"\n");
  ASSERT_EQ(file.entries().size(), tensors.size());
  for (const auto& [key, tensor] : tensors) {
    const at::Tensor back = file.tensor(key);
    EXPECT_EQ(back.scalar_type(), tensor.scalar_type()) << key;
    EXPECT_EQ(back.sizes(), tensor.sizes()) << key;
    EXPECT_TRUE(back.to(at::kDouble).equal(tensor.to(at::kDouble))) << key;
  }
}

TEST(Safetensors, StridedTensorIsWrittenInItsLogicalOrder) {
  const at::Tensor matrix = at::arange(6, at::kFloat).view({2, 3});
  const SafetensorsFile file(encode_safetensors({}, {{"t", matrix.t()}}), "x");
  EXPECT_TRUE(file.tensor("t").equal(matrix.t()));
}

TEST(Safetensors, HeaderIsPaddedAndEveryTensorAligned) {
  const auto bytes = encode_safetensors({{"a", "b"}}, one_of_each_dtype());
  EXPECT_EQ(bytes[0] % 8, 0);
  const SafetensorsFile file(bytes, "x");
  for (const auto& [key, e] : file.entries()) {
    EXPECT_EQ(e.begin % c10::elementSize(e.dtype), 0U) << key;
  }
  EXPECT_EQ(bytes, encode_safetensors({{"a", "b"}}, one_of_each_dtype()));
}

TEST(Safetensors, FileOnDiskEqualsTheOneInMemory) {
  const TemporaryFolder folder;
  const std::string path = folder / "a.safetensors";
  write_safetensors(path, {{"k", "v"}}, {{"t", at::arange(3, at::kLong)}});
  const SafetensorsFile file(path);
  EXPECT_TRUE(file.tensor("t").equal(at::arange(3, at::kLong)));
  EXPECT_EQ(file.bytes(), static_cast<int64_t>(std::filesystem::file_size(path)));
}

TEST(Safetensors, TextThatIsNotUtf8DoesNotStopTheWriter) {
  const SafetensorsFile file(encode_safetensors({{"name", "caf\xe9.jpg"}}, {}), "x");
  EXPECT_EQ(file.metadata().at("name"), "caf\xEF\xBF\xBD.jpg");
}

TEST(Safetensors, MissingFileIsAnIoErrorThatNamesIt) {
  expect_error(ErrorKind::kIo, "/nowhere/a.safetensors: No such file",
               [] { SafetensorsFile("/nowhere/a.safetensors"); });
  expect_error(ErrorKind::kIo, "not a regular file", [] { SafetensorsFile("/tmp"); });
}

TEST(Safetensors, MissingTensorIsNamed) {
  const SafetensorsFile file(encode_safetensors({}, {}), "x");
  expect_error(ErrorKind::kBadData, "x: tensor \"a.b\" is missing", [&] { file.tensor("a.b"); });
}

TEST(Safetensors, WriterRefusesWhatTheFormatCannotHold) {
  expect_error(ErrorKind::kUsage, "cannot store dtype", [] {
    encode_safetensors({}, {{"c", at::zeros({2}, at::kComplexFloat)}});
  });
  expect_error(ErrorKind::kUsage, "cannot name a tensor", [] {
    encode_safetensors({}, {{"__metadata__", at::zeros({2})}});
  });
}

TEST(SafetensorsHostile, HeaderLongerThanTheFile) {
  std::vector<uint8_t> bytes = raw_safetensors("{}", "");
  bytes[7] = 0x7f;
  expect_error(ErrorKind::kBadData, "header of", [&] { SafetensorsFile(bytes, "x"); });
  bytes[0] = 3;
  bytes[7] = 0;
  expect_error(ErrorKind::kBadData, "header of 3 bytes in a file of 10",
               [&] { SafetensorsFile(bytes, "x"); });
  expect_error(ErrorKind::kBadData, "too few", [] { SafetensorsFile({1, 2, 3}, "x"); });
  const TemporaryFolder folder;
  tests::write_bytes(folder / "empty", {});
  expect_error(ErrorKind::kBadData, "0 bytes are too few",
               [&] { SafetensorsFile(folder / "empty"); });
}

TEST(SafetensorsHostile, HeaderOverTheLimitIsRefusedBeforeItIsParsed) {
  std::vector<uint8_t> bytes(100'000'020, ' ');
  const uint64_t header = 100'000'001;
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<uint8_t>(header >> (8 * i));
  expect_error(ErrorKind::kBadData, "more than 100000000",
               [&] { SafetensorsFile(std::move(bytes), "x"); });
}

TEST(SafetensorsHostile, HeaderThatIsNotAFlatJsonObject) {
  expect_bad("not a JSON object", "{", "");
  expect_bad("not a JSON object", "[]", "");
  expect_bad("not a JSON object", "{\"\xff\":1}", "");
  expect_bad("nested too deeply", std::string(100'000, '['), "");
  expect_bad("nested too deeply", R"({"a":{"b":{"c":{"d":{"e":{}}}}}})", "");
  expect_bad("expected dtype, shape and data_offsets", R"({"a":1})", "");
  expect_bad("is not an object", R"({"__metadata__":1})", "");
  expect_bad("is not a string", R"({"__metadata__":{"a":1}})", "");
}

TEST(SafetensorsHostile, KeyTwice) {
  const std::string a = entry("a", "U8", "1", "0,1");
  expect_bad("key \"a\" twice", "{" + a + "," + a + "}", "x");
  expect_bad("key \"k\" twice", R"({"__metadata__":{"k":"1","k":"2"}})", "");
}

TEST(SafetensorsHostile, UnknownDtype) {
  expect_bad("unknown dtype \"F7\"", "{" + entry("a", "F7", "1", "0,1") + "}", "x");
}

TEST(SafetensorsHostile, SizesThatAreNotCounts) {
  for (const char* shape : {"-1", "1.5", "\"1\"", "null", "[1]", "1e3", "18446744073709551616"}) {
    expect_bad("tensor \"a\"", "{" + entry("a", "U8", shape, "0,1") + "}", "x");
  }
  expect_bad("tensor \"a\"", "{" + entry("a", "U8", "1", "0,-1") + "}", "x");
  expect_bad("no data_offsets", "{" + entry("a", "U8", "1", "0,1,2") + "}", "x");
}

TEST(SafetensorsHostile, ShapeWhoseProductOverflows) {
  expect_bad("shape too large", "{" + entry("a", "F32", "4294967296,4294967296", "0,0") + "}", "");
  expect_bad("shape too large", "{" + entry("a", "F32", "0,4294967296,4294967296", "0,0") + "}",
             "");
  expect_bad("shape too large", "{" + entry("a", "U8", "9223372036854775808", "0,0") + "}", "");
  std::string sides = "1";
  for (int i = 0; i < 64; ++i) sides += ",1";
  expect_bad("more than 64 dimensions", "{" + entry("a", "U8", sides, "0,1") + "}", "x");
}

TEST(SafetensorsHostile, OffsetsThatContradict) {
  expect_bad("expected 8 bytes for its shape, got 4", "{" + entry("a", "F32", "2", "0,4") + "}",
             "1234");
  expect_bad("bytes 0 to 8 of 4", "{" + entry("a", "F32", "2", "0,8") + "}", "1234");
  expect_bad("bytes 4 to 0", "{" + entry("a", "F32", "1", "4,0") + "}", "1234");
  expect_bad("overlaps",
             "{" + entry("a", "U8", "3", "0,3") + "," + entry("b", "U8", "3", "1,4") + "}", "1234");
  expect_bad("overlaps",
             "{" + entry("a", "U8", "4", "0,4") + "," + entry("b", "U8", "4", "0,4") + "}", "1234");
  expect_bad("1 bytes before tensor \"a\"", "{" + entry("a", "U8", "3", "1,4") + "}", "1234");
  expect_bad("2 bytes after the last tensor", "{" + entry("a", "U8", "2", "0,2") + "}", "1234");
}

TEST(SafetensorsHostile, BoolThatIsNeitherTrueNorFalse) {
  const SafetensorsFile file(
      raw_safetensors("{" + entry("a", "BOOL", "2", "0,2") + "}", std::string("\x01\x02", 2)), "x");
  expect_error(ErrorKind::kBadData, "neither 0 nor 1", [&] { file.tensor("a"); });
}

TEST(SafetensorsHostile, EveryTruncationIsRefusedAndNoFlippedByteCrashes) {
  const auto whole = encode_safetensors(
      {{"a", "b"}}, {{"t", at::arange(4, at::kFloat)}, {"u", at::arange(3, at::kInt)}});
  for (size_t length = 0; length < whole.size(); ++length) {
    expect_error(ErrorKind::kBadData, "x: ", [&] {
      SafetensorsFile({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)}, "x");
    });
  }
  Philox random(7, "flips");
  for (int i = 0; i < 3000; ++i) {
    std::vector<uint8_t> bytes = whole;
    bytes[random.uniform_int(bytes.size())] ^= static_cast<uint8_t>(1 + random.uniform_int(255));
    try {
      SafetensorsFile(bytes, "x").tensors();
    } catch (const Error& error) {
      ASSERT_EQ(error.kind(), ErrorKind::kBadData) << error.what();
    }
  }
}

TEST(Safetensors, PythonReadsAndWritesTheSame) {
  if (!std::filesystem::exists(LEXEL_TEST_PYTHON)) GTEST_SKIP() << "no " << LEXEL_TEST_PYTHON;
  const TemporaryFolder folder;
  const std::string ours = folder / "ours.safetensors", theirs = folder / "theirs.safetensors";
  write_safetensors(ours, {{"k", "v"}},
                    {{"f", at::arange(6, at::kFloat).view({2, 3})},
                     {"u", at::tensor({7, 65535}, at::kInt).to(at::kUInt16)},
                     {"e", at::empty({0, 2}, at::kLong)}});
  const std::string program =
      "import sys, numpy as np, safetensors.numpy as s; t = s.load_file(sys.argv[1]); "
      "assert t['f'].dtype == np.float32 and (t['f'] == np.arange(6).reshape(2, 3)).all(); "
      "assert t['u'].dtype == np.uint16 and t['u'].tolist() == [7, 65535]; "
      "assert t['e'].shape == (0, 2); s.save_file(t, sys.argv[2], {'k': 'v'})";
  const std::string command = std::string("'") + LEXEL_TEST_PYTHON + "' -c \"" + program + "\" '" +
                              ours + "' '" + theirs + "'";
  ASSERT_EQ(std::system(command.c_str()), 0) << command;
  const SafetensorsFile mine(ours), file(theirs);
  EXPECT_EQ(file.metadata(), mine.metadata());
  for (const auto& [key, tensor] : mine.tensors()) {
    EXPECT_TRUE(file.tensor(key).to(at::kDouble).equal(tensor.to(at::kDouble))) << key;
  }
}

}  // namespace
}  // namespace lexel
