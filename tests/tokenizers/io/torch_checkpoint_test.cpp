#include "tokenizers/io/torch_checkpoint.h"

#include <filesystem>
#include <gtest/gtest.h>
#include <zlib.h>

#include "kernels/philox.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"
#include "tests/tokenizers/io/raw_safetensors.h"
#include "tokenizers/io/safetensors.h"
#include "tokenizers/io/sha256.h"

namespace lexel {
namespace {

using tests::expect_error;

const std::string kData = LEXEL_SOURCE_DIR "/tests/data/";

std::string little_endian(uint64_t value, int count) {
  std::string out;
  for (int i = 0; i < count; ++i, value >>= 8) out += static_cast<char>(value);
  return out;
}

struct Member {
  std::string name, content;
  uint64_t method = 0, flags = 0;
};

/// A zip file of stored members, as the specification draws it.
std::string zip(const std::vector<Member>& members) {
  std::string out, directory;
  for (const Member& m : members) {
    const uint64_t crc =
        ::crc32_z(0, reinterpret_cast<const Bytef*>(m.content.data()), m.content.size());
    const std::string common =
        little_endian(m.flags, 2) + little_endian(m.method, 2) + little_endian(0, 4) +
        little_endian(crc, 4) + little_endian(m.content.size(), 4) +
        little_endian(m.content.size(), 4) + little_endian(m.name.size(), 2) + little_endian(0, 2);
    directory += "PK\x01\x02" + little_endian(20, 2) + little_endian(20, 2) + common +
                 little_endian(0, 10) + little_endian(out.size(), 4) + m.name;
    out += "PK\x03\x04" + little_endian(20, 2) + common + m.name + m.content;
  }
  return out + directory + "PK\x05\x06" + little_endian(0, 4) + little_endian(members.size(), 2) +
         little_endian(members.size(), 2) + little_endian(directory.size(), 4) +
         little_endian(out.size(), 4) + little_endian(0, 2);
}

template <size_t N>
std::string raw(const char (&text)[N]) {
  return {text, N - 1};
}

/// The pickle of {"t": a tensor of `type` with this geometry}; 6 elements in storage "0".
std::string one_tensor(const std::string& geometry, const std::string& type = "FloatStorage",
                       const std::string& dict = "}") {
  return "\x80\x02" + dict +
         raw("X\x01\x00\x00\x00tctorch._utils\n_rebuild_tensor_v2\n(("
             "X\x07\x00\x00\x00storagectorch\n") +
         type +
         raw("\nX\x01\x00\x00\x00"
             "0X\x03\x00\x00\x00"
             "cpuK\x06tQ") +
         geometry + raw("\x89)tRs.");
}

const std::string kMatrix =
    raw("K\x00K\x02K\x03\x86K\x03K\x01\x86");  // offset 0, (2, 3), strides (3, 1)

std::map<std::string, at::Tensor> read(const std::string& content) {
  return read_torch_checkpoint(std::vector<uint8_t>(content.begin(), content.end()), "x");
}

std::string checkpoint(const std::string& pickle, size_t storage_bytes = 24) {
  return zip({{"a/data.pkl", pickle}, {"a/data/0", std::string(storage_bytes, '\0')}});
}

void expect_bad(const std::string& words, const std::string& content) {
  expect_error(ErrorKind::kBadData, words, [&] { read(content); });
}

class FixtureOfTwoContainers : public ::testing::TestWithParam<const char*> {};

TEST_P(FixtureOfTwoContainers, HoldsTheTensorsOfTheSafetensorsFile) {
  const auto tensors = read_torch_checkpoint(kData + GetParam());
  const SafetensorsFile wanted(kData + "et_vitvq.safetensors");
  size_t compared = 0;
  for (const auto& [key, entry] : wanted.entries()) {
    if (!key.starts_with("weights/")) continue;
    ASSERT_EQ(tensors.count(key.substr(8)), 1U) << key;
    const at::Tensor& tensor = tensors.at(key.substr(8));
    EXPECT_EQ(tensor.scalar_type(), entry.dtype) << key;
    EXPECT_TRUE(tensor.equal(wanted.tensor(key))) << key;
    ++compared;
  }
  EXPECT_EQ(compared, 59U);
  for (const auto& [key, tensor] : tensors) {
    EXPECT_TRUE(wanted.entries().count("weights/" + key) == 1 || key.starts_with("loss.")) << key;
  }
}

TEST_P(FixtureOfTwoContainers, EveryTruncationIsRefused) {
  const auto whole = tests::read_bytes(kData + GetParam());
  Philox random(3, "truncation");
  std::vector<size_t> lengths = {0, 1, 4, 14, 22, 100, whole.size() - 1, whole.size() - 2};
  for (int i = 0; i < 300; ++i) lengths.push_back(random.uniform_int(whole.size()));
  for (const size_t length : lengths) {
    expect_error(ErrorKind::kBadData, "x: ", [&] {
      read_torch_checkpoint({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)},
                            "x");
    });
  }
}

TEST_P(FixtureOfTwoContainers, NoFlippedByteCrashes) {
  const auto whole = tests::read_bytes(kData + GetParam());
  // Half of the flips go to the first 16 kB and the last 12 kB, where the pickle and the directory are.
  Philox random(5, "flips");
  int refused = 0;
  for (int i = 0; i < 1500; ++i) {
    std::vector<uint8_t> bytes = whole;
    for (uint64_t flips = 1 + random.uniform_int(4); flips > 0; --flips) {
      size_t at = random.uniform_int(whole.size());
      if (i % 4 == 0) at = random.uniform_int(16384);
      if (i % 4 == 1) at = whole.size() - 1 - random.uniform_int(12288);
      bytes[at] = static_cast<uint8_t>(random.uniform_int(256));
    }
    try {
      read_torch_checkpoint(std::move(bytes), "x");
    } catch (const Error& error) {
      EXPECT_NE(error.kind(), ErrorKind::kInternal) << error.what();
      ++refused;
    }
  }
  EXPECT_GT(refused, 100);
}

INSTANTIATE_TEST_SUITE_P(Containers, FixtureOfTwoContainers,
                         ::testing::Values("et_vitvq_lightning.ckpt", "et_vitvq_legacy.pth"),
                         [](const auto& source) {
                           return std::string(source.param).find("legacy") == std::string::npos
                                      ? "Zip"
                                      : "Legacy";
                         });

TEST(TorchCheckpoint, MaliciousPickleIsRefusedByNameAndNotRun) {
  const tests::TemporaryFolder folder;
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  expect_error(ErrorKind::kBadData, "malicious_open.ckpt: refused: this checkpoint calls io open",
               [] { read_torch_checkpoint(kData + "malicious_open.ckpt"); });
  std::filesystem::current_path(before);
  EXPECT_FALSE(std::filesystem::exists(folder / "PWNED"));
  EXPECT_FALSE(std::filesystem::exists("PWNED"));
}

TEST(TorchCheckpoint, EveryStorageTypeKeepsItsDtype) {
  const std::pair<const char*, at::ScalarType> types[] = {
      {"DoubleStorage", at::kDouble},     {"FloatStorage", at::kFloat}, {"HalfStorage", at::kHalf},
      {"BFloat16Storage", at::kBFloat16}, {"LongStorage", at::kLong},   {"IntStorage", at::kInt},
      {"ShortStorage", at::kShort},       {"CharStorage", at::kChar},   {"ByteStorage", at::kByte},
      {"BoolStorage", at::kBool}};
  for (const auto& [type, dtype] : types) {
    const auto tensors = read(checkpoint(one_tensor(kMatrix, type), 6 * c10::elementSize(dtype)));
    EXPECT_EQ(tensors.at("t").scalar_type(), dtype);
    EXPECT_EQ(tensors.at("t").sizes(), (at::IntArrayRef{2, 3}));
  }
}

TEST(TorchCheckpoint, ViewsOfAStorageAreReadWithTheirStrides) {
  std::string values;
  for (uint64_t i = 0; i < 6; ++i) values += little_endian(i, 8);
  const std::string transposed =
      raw("K\x01K\x02K\x02\x86K\x01K\x02\x86");  // offset 1, strides (1, 2)
  const auto tensors =
      read(zip({{"a/data.pkl", one_tensor(transposed, "LongStorage")}, {"a/data/0", values}}));
  EXPECT_EQ(tensors.at("t")[0][1].item<int64_t>(), 3);
  EXPECT_EQ(tensors.at("t")[1][0].item<int64_t>(), 2);
}

TEST(TorchCheckpoint, TensorsOutsideTheirStorageAreRefused) {
  for (const std::string& geometry : {
           raw("K\x01K\x02K\x03\x86K\x03K\x01\x86"),    // offset 1
           raw("K\x00K\x02K\x03\x86K\x04K\x01\x86"),    // stride 4
           raw("K\x00K\x07\x85K\x01\x85"),              // 7 elements
           raw("K\x07K\x00\x85K\x01\x85"),              // empty, behind the end
           raw("K\x00J\xff\xff\xff\x7f\x85K\x00\x85"),  // stride 0: a bomb
           raw("K\x00J\xff\xff\xff\x7fJ\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x87K\x00K\x00K\x00\x87"),
           raw("J\xff\xff\xff\xffK\x01\x85K\x01\x85"),  // offset -1
       }) {
    expect_bad("lies outside its storage of 6 elements", checkpoint(one_tensor(geometry)));
  }
  expect_bad("a storage of 6 elements has 20 bytes", checkpoint(one_tensor(kMatrix), 20));
  expect_bad("a storage is missing", zip({{"a/data.pkl", one_tensor(kMatrix)}}));
  std::string bools = checkpoint(one_tensor(kMatrix, "BoolStorage"), 6);
  expect_bad("neither 0 nor 1", zip({{"a/data.pkl", one_tensor(kMatrix, "BoolStorage")},
                                     {"a/data/0", "\x01\x01\x01\x01\x01\x02"}}));
}

TEST(TorchCheckpoint, FilesWithoutTensorsAreRefused) {
  expect_bad("holds no tensors", checkpoint("\x80\x02}."));
  expect_bad("expected a dict", checkpoint("\x80\x02N."));
  expect_bad("not a checkpoint of torch.save", "");
  expect_bad("not a checkpoint of torch.save", "hello, this is a text");
  expect_bad("not one of torch.save", zip({{"a/b.txt", "x"}}));
  expect_error(ErrorKind::kIo, "/nowhere/a.pth", [] { read_torch_checkpoint("/nowhere/a.pth"); });
  expect_error(ErrorKind::kUnsupported, "TorchScript", [] {
    read(zip({{"a/data.pkl", one_tensor(kMatrix)}, {"a/constants.pkl", "N."}}));
  });
}

TEST(TorchCheckpoint, BigEndianFilesAreRefused) {
  expect_bad("expected little-endian tensors, got \"big\"",
             zip({{"a/data.pkl", one_tensor(kMatrix)}, {"a/byteorder", "big"}}));
}

TEST(TorchZip, HostileDirectoriesAreRefused) {
  const std::string pickle = one_tensor(kMatrix), zeros(24, '\0');
  expect_bad("compressed member a/data/0", zip({{"a/data.pkl", pickle}, {"a/data/0", zeros, 8}}));
  expect_bad("encrypted member a/data/0", zip({{"a/data.pkl", pickle}, {"a/data/0", zeros, 0, 1}}));
  expect_bad("two members a/data/0",
             zip({{"a/data.pkl", pickle}, {"a/data/0", zeros}, {"a/data/0", zeros}}));

  const std::string good = checkpoint(pickle);
  ASSERT_EQ(read(good).size(), 1U);
  const size_t second = good.find("PK\x01\x02", good.find("PK\x01\x02") + 1);
  std::string overlapping = good;  // the second member's header is the first one's
  overlapping.replace(second + 42, 4, std::string(4, '\0'));
  expect_bad("members overlap", overlapping);
  std::string outside = good;
  outside.replace(second + 20, 8, little_endian(100000, 4) + little_endian(100000, 4));
  expect_bad("outside the file", outside);
  std::string contradicting = good;
  contradicting.replace(second + 20, 4, little_endian(23, 4));
  expect_bad("sizes of a/data/0 contradict", contradicting);
  std::string damaged = good;
  damaged[good.find("a/data/0") + 10] = 'x';
  expect_bad("member a/data/0 is damaged", damaged);
  std::string many = good;
  many.replace(good.size() - 12, 2, "\xff\xff");
  expect_bad("bad zip file", many);
  expect_bad("no end record", good.substr(0, good.size() - 22) + std::string(22, 'x'));
}

// The perceptual net's weights, in the old format. The hash is of what Python's torch.load(weights_only=True)
// of PyTorch 2.11 gives.
TEST(TorchCheckpoint, EfficientNetLite0IsReadAsPythonReadsIt) {
  const std::string path = LEXEL_CACHE_DIR "/efficientnet-lite0/efficientnet-lite0-57934424.pth";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << path;
  const auto tensors = read_torch_checkpoint(path);
  EXPECT_EQ(tensors.size(), 296U);
  std::string all;  // names, a newline and values, in the order of the names
  for (const auto& [key, tensor] : tensors) {
    const at::Tensor values = tensor.contiguous();
    all += key + "\n";
    all.append(static_cast<const char*>(values.const_data_ptr()), values.nbytes());
  }
  EXPECT_EQ(sha256(all.data(), all.size()),
            "3461f3ee0eacc2d6db155fd42260426a4c2dd0f03459db809a34162353002cdc");
}

}  // namespace
}  // namespace lexel
