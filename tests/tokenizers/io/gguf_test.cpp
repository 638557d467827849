#include "tokenizers/io/gguf.h"

#include <cmath>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/support/expect_error.h"
#include "tests/support/made_gguf.h"
#include "tests/support/run_program.h"

namespace lexel {
namespace {

using tests::expect_error;
using tests::MadeGguf;

GgufFile open(const MadeGguf& made, uint32_t version = 3) {
  return {made.bytes(version), "m.gguf"};
}

MadeGguf small_file() {
  MadeGguf made;
  made.add_text("general.name", "tiny");
  made.add_integer("depth", 7);
  made.add_real("base", 2.5F);
  made.add_flag("flag", 1);
  made.add_texts("words", {"one", "two"});
  made.add_integers("numbers", {-3, 4});
  const float values[] = {1, 2, 3, 4, 5, 6};
  made.add_floats("matrix", {3, 2}, values);
  made.add_tensor("halves", {2}, 1, std::string("\x00\x3C\x00\xC0", 4));   // 1, -2
  made.add_tensor("brains", {2}, 30, std::string("\x80\x3F\x00\xC0", 4));  // 1, -2
  return made;
}

TEST(Gguf, ReadsMetadataAndTensors) {
  const GgufFile file = open(small_file());
  EXPECT_EQ(file.get<std::string>("general.name"), "tiny");
  EXPECT_EQ(file.get<int64_t>("depth"), 7);
  EXPECT_EQ(file.get<double>("base"), 2.5);
  EXPECT_TRUE(file.get<bool>("flag"));
  EXPECT_EQ(file.get<std::vector<std::string>>("words"), (std::vector<std::string>{"one", "two"}));
  EXPECT_EQ(file.get<std::vector<int64_t>>("numbers"), (std::vector<int64_t>{-3, 4}));
  EXPECT_EQ(file.get_or<int64_t>("absent", 9), 9);
  const at::Tensor matrix = file.tensor("matrix");
  EXPECT_EQ(matrix.sizes(), (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(matrix[1][0].item<float>(), 4);
  for (const char* name : {"halves", "brains"}) {
    EXPECT_EQ(file.tensor(name)[0].item<float>(), 1) << name;
    EXPECT_EQ(file.tensor(name)[1].item<float>(), -2) << name;
  }
  EXPECT_EQ(file.entries().at("halves").type_name, "F16");
  EXPECT_EQ(open(small_file(), 2).entries().size(), 3);
}

// The blocks are random bytes, the values those of the gguf package, 0.19.0.
TEST(Gguf, DequantisesAsTheReferencePackage) {
  const auto cases = nlohmann::json::parse(
      tests::read_text(std::string(LEXEL_SOURCE_DIR) + "/tests/data/gguf_blocks.json"));
  const std::pair<const char*, uint32_t> types[] = {
      {"Q4_0", 2}, {"Q4_1", 3}, {"Q8_0", 8}, {"Q6_K", 14}};
  for (const auto& [name, type] : types) {
    const auto hex = cases[name]["block"].get<std::string>();
    const auto wanted = cases[name]["values"].get<std::vector<float>>();
    std::string block;
    for (size_t i = 0; i < hex.size(); i += 2)
      block.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
    MadeGguf made;
    made.add_tensor("t", {wanted.size()}, type, block);
    const at::Tensor values = open(made).tensor("t");
    for (size_t i = 0; i < wanted.size(); ++i) {
      EXPECT_NEAR(values[static_cast<int64_t>(i)].item<float>(), wanted[i],
                  1e-6F * std::abs(wanted[i]) + 1e-7F)
          << name << " " << i;
    }
  }
}

TEST(Gguf, EveryCutIsAnError) {
  const std::string whole = small_file().text_of_file();
  for (size_t size = 0; size < whole.size(); ++size) {
    expect_error(ErrorKind::kBadData, "m.gguf", [&] {
      GgufFile({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)}, "m.gguf");
    });
  }
}

TEST(Gguf, AnyChangedByteIsReadOrRefused) {
  const std::vector<uint8_t> whole = small_file().bytes();
  int refused = 0;
  for (size_t i = 0; i < whole.size(); ++i) {
    for (const uint8_t value : {0x00, 0x7F, 0xFF}) {
      std::vector<uint8_t> changed = whole;
      changed[i] = value;
      try {
        const GgufFile file(std::move(changed), "m.gguf");
        for (const auto& [name, entry] : file.entries()) file.tensor(name);
      } catch (const Error&) {
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, 100);
}

TEST(Gguf, RefusesWhatItDoesNotRead) {
  expect_error(ErrorKind::kBadData, "not a GGUF file",
               [] { GgufFile(std::vector<uint8_t>(64, 1), "m.gguf"); });
  expect_error(ErrorKind::kUnsupported, "GGUF version 1", [] { open(MadeGguf(), 1); });
  expect_error(ErrorKind::kUnsupported, "(big-endian)", [] { open(MadeGguf(), 3U << 24); });
  expect_error(ErrorKind::kUnsupported, "an array of arrays", [] {
    MadeGguf made;
    made.begin_array("nested", 9, 1);
    open(made);
  });
  expect_error(ErrorKind::kUnsupported, "tensor \"t\": of type 12", [] {
    MadeGguf made;
    made.add_tensor("t", {256}, 12, std::string(144, 0));
    open(made);
  });
}

TEST(Gguf, RefusesLies) {
  const auto refuse = [](const std::string& message, const MadeGguf& made) {
    expect_error(ErrorKind::kBadData, message, [&] { open(made); });
  };
  MadeGguf made;
  made.begin_array("words", 8, uint64_t{1} << 60);
  refuse("an array of 1152921504606846976 elements", made);

  made = MadeGguf();
  made.begin("name", 8);
  std::string file = made.text_of_file();
  MadeGguf::number(file, uint64_t{1} << 62, 8);
  expect_error(ErrorKind::kBadData, "a string of 4611686018427387904 bytes", [&] {
    GgufFile({file.begin(), file.end()}, "m.gguf");
  });

  file = MadeGguf().text_of_file();
  file.replace(16, 8, 8, '\x7F');
  expect_error(ErrorKind::kBadData, "keys and 0 tensors in a file of", [&] {
    GgufFile({file.begin(), file.end()}, "m.gguf");
  });

  made = MadeGguf();
  made.add_integer("twice", 1);
  made.add_integer("twice", 1);
  refuse("key \"twice\" twice", made);

  made = MadeGguf();
  made.add_entry("t", {uint64_t{1} << 40, uint64_t{1} << 40}, 0, 0);
  refuse("tensor \"t\": expected sides >= 1 and fewer than 2^61 numbers", made);

  made = MadeGguf();
  made.add_entry("t", {64, 64}, 0, 0);
  refuse("tensor \"t\": bytes 0 to 0 + 16384 of 0", made);

  made = MadeGguf();
  made.add_tensor("a", {32}, 0, std::string(128, 0));
  made.add_entry("b", {8}, 0, 64);
  refuse("\"b\" overlaps \"a\"", made);

  made = MadeGguf();
  made.add_tensor("a", {32}, 0, std::string(128, 0));
  made.add_entry("b", {8}, 0, 8);
  refuse("tensor \"b\": byte 8 is no multiple of 32", made);

  made = MadeGguf();
  made.add_tensor("t", {33}, 8, std::string(68, 0));
  refuse("expected rows of a multiple of 32 numbers for Q8_0, got 33", made);

  made = MadeGguf();
  made.add_integer("general.alignment", 24);
  refuse("an alignment of 24", made);

  made = MadeGguf();
  made.add_flag("flag", 2);
  refuse("a truth value of 2", made);
}

TEST(Gguf, NamesWhatIsMissingOrWrong) {
  const GgufFile file = open(small_file());
  expect_error(ErrorKind::kBadData, "metadata \"absent\" is missing",
               [&] { file.get<std::string>("absent"); });
  expect_error(ErrorKind::kBadData, "metadata \"depth\" is of another type",
               [&] { file.get<std::string>("depth"); });
  expect_error(ErrorKind::kBadData, "tensor \"absent\" is missing", [&] { file.tensor("absent"); });
  const float values[] = {1, NAN};
  MadeGguf made;
  made.add_floats("t", {2}, values);
  expect_error(ErrorKind::kBadData, "not all finite", [&] { open(made).tensor("t"); });
}

}  // namespace
}  // namespace lexel
