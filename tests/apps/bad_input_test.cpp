#include <csignal>
#include <filesystem>
#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "tests/apps/programs_fixture.h"
#include "tokenizers/io/token_file.h"

namespace lexel::tests {
namespace {

namespace fs = std::filesystem;

/// Everything that the issue of bad input names, against the real programs: one line, the documented
/// exit code, no output.
class BadInput : public ProgramsTest {
 protected:
  void expect_img2tok_refuses(const std::string& input, int exit_code, const std::string& words) {
    const std::string output = path("out.safetensors");
    expect_failure(img2tok({input, output}), exit_code, words);
    EXPECT_FALSE(fs::exists(output));
  }

  void expect_tok2img_refuses(const std::string& tokens, int exit_code, const std::string& words) {
    expect_failure(tok2img({tokens, path("out.png")}), exit_code, words);
    EXPECT_FALSE(fs::exists(path("out.png")));
  }

  std::string good_tokens() {
    write_image(path("good.png"), sample_image(16, 16));
    EXPECT_EQ(img2tok({path("good.png"), path("good.safetensors")}).exit_code, 0);
    return path("good.safetensors");
  }

  /// Names of everything in the folder: to see that nothing was left behind.
  std::vector<std::string> listing() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::recursive_directory_iterator(folder_.path())) {
      names.push_back(entry.path().filename().string());
    }
    return names;
  }
};

TEST_F(BadInput, MissingPicture) { expect_img2tok_refuses(path("no.jpg"), 4, "no.jpg"); }

TEST_F(BadInput, EmptyPicture) {
  write_text(path("empty.jpg"), "");
  expect_img2tok_refuses(path("empty.jpg"), 3, "empty.jpg");
}

TEST_F(BadInput, TruncatedPictures) {
  for (const char* format : {"jpeg", "png", "webp"}) {
    const std::vector<uint8_t> bytes = encode_image(sample_image(64, 64), format);
    const std::string name = path(std::string("cut.") + format);
    write_text(name,
               std::string(bytes.begin(), bytes.begin() + static_cast<long>(bytes.size() / 2)));
    expect_img2tok_refuses(name, 3, "cut.");
  }
}

TEST_F(BadInput, HeaderThatClaimsAHugePicture) {
  std::vector<uint8_t> bytes = encode_image(sample_image(16, 16), "png");
  for (const size_t offset : {size_t{16}, size_t{20}}) {  // width and height of the IHDR chunk
    bytes[offset] = 0, bytes[offset + 1] = 0, bytes[offset + 2] = 60000 >> 8,
    bytes[offset + 3] = 60000 & 255;
  }
  write_text(path("huge.png"), std::string(bytes.begin(), bytes.end()));
  expect_img2tok_refuses(path("huge.png"), 3, "60000");
}

TEST_F(BadInput, NotAPicture) {
  write_text(path("notes.jpg"), "Dear diary, today nothing was a picture.");
  expect_img2tok_refuses(path("notes.jpg"), 3, "notes.jpg");
}

TEST_F(BadInput, FolderWithoutPictures) {
  fs::create_directories(path("empty"));
  const ProgramResult result = img2tok({path("empty"), path("out.safetensors")});
  EXPECT_NE(result.exit_code, 0);
  EXPECT_FALSE(fs::exists(path("out.safetensors")));
}

TEST_F(BadInput, UnreadableFolder) {
  fs::create_directories(path("locked"));
  fs::permissions(path("locked"), fs::perms::none);
  if (access(path("locked").c_str(), R_OK) == 0) GTEST_SKIP() << "root reads everything";
  expect_img2tok_refuses(path("locked"), 4, "locked");
}

TEST_F(BadInput, FolderThatCannotBeOpened) {  // for root too
  fs::create_directory_symlink(path("loop"), path("loop"));
  expect_img2tok_refuses(path("loop"), 4, "loop");
}

TEST_F(BadInput, TinyAndVeryLongPicturesAreFine) {
  write_image(path("one.png"), sample_image(1, 1));
  write_image(path("long.png"), sample_image(20000, 3));
  for (const char* fit : {"crop", "pad", "stretch", "tiles"}) {
    for (const char* name : {"one.png", "long.png"}) {
      const ProgramResult result = img2tok({"--fit", fit, path(name), path("out.safetensors")});
      ASSERT_EQ(result.exit_code, 0) << fit << " " << name << ": " << result.err;
      ASSERT_EQ(tok2img({path("out.safetensors"), path("back.png")}).exit_code, 0)
          << fit << " " << name;
    }
  }
}

TEST_F(BadInput, TokensOfAnotherModel) {
  const std::string tokens = good_tokens();
  write_model(path("other.safetensors"), 2);
  const ProgramResult result =
      run_program({LEXEL_BIN_DIR "/tok2img", "--model", path("other.safetensors"), "--device",
                   "cpu", tokens, path("out.png")});
  expect_failure(result, 3, "codebook");
  EXPECT_FALSE(fs::exists(path("out.png")));
}

TEST_F(BadInput, TokensPastTheCodebook) {
  TokenFile file = read_token_file(good_tokens());
  file.codebook_size = 1'000'000;
  file.pictures[0].tokens.fill_(999'999);
  write_token_file(path("past.safetensors"), file);
  std::string bytes = read_text(path("past.safetensors"));
  const size_t at = bytes.find("1000000");
  ASSERT_NE(at, std::string::npos);
  bytes.replace(at, 7, "0000032");
  write_text(path("past.safetensors"), bytes);
  const ProgramResult result = tok2img({path("past.safetensors"), path("out.png")});
  expect_failure(result, 3, "past.safetensors");
}

TEST_F(BadInput, TruncatedTokens) {
  const std::string bytes = read_text(good_tokens());
  for (const size_t length : {size_t{0}, size_t{4}, size_t{20}, bytes.size() - 1}) {
    write_text(path("cut.safetensors"), bytes.substr(0, length));
    expect_tok2img_refuses(path("cut.safetensors"), 3, "cut.safetensors");
  }
}

TEST_F(BadInput, AModelFileIsNotATokenFile) {
  expect_tok2img_refuses(model(), 3, "tiny.safetensors");
}

TEST_F(BadInput, ModelWithNan) {
  ModelFile file = read_model_file(model());
  at::Tensor& weight = file.tensors.begin()->second;
  weight.reshape({-1})[0].fill_(std::nan(""));
  write_model_file(model(), file);
  write_image(path("a.png"), sample_image(16, 16));
  expect_img2tok_refuses(path("a.png"), 3, file.tensors.begin()->first);
}

TEST_F(BadInput, ModelWithoutATensor) {
  ModelFile file = read_model_file(model());
  const std::string name = file.tensors.begin()->first;
  file.tensors.erase(name);
  write_model_file(model(), file);
  write_image(path("a.png"), sample_image(16, 16));
  expect_img2tok_refuses(path("a.png"), 3, name);
}

TEST_F(BadInput, ModelHeaderLongerThanTheFile) {
  std::string bytes = read_text(model());
  bytes[6] = 1;  // 2^48 more bytes of header
  write_text(model(), bytes);
  write_image(path("a.png"), sample_image(16, 16));
  expect_img2tok_refuses(path("a.png"), 3, "header");
}

TEST_F(BadInput, FullDisk) {
  write_image(path("a.png"), sample_image(16, 16));
  // A file-size limit fails the write as a full disk does, for root too.
  rlimit old{};
  getrlimit(RLIMIT_FSIZE, &old);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);  // inherited: write() then returns EFBIG
  rlimit small = old;
  small.rlim_cur = 400;  // less than any token file, more than the message
  setrlimit(RLIMIT_FSIZE, &small);
  const ProgramResult result = img2tok({path("a.png"), path("out.safetensors")});
  setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, handler);
  expect_failure(result, 4, "out.safetensors");
  EXPECT_THAT(listing(), ::testing::UnorderedElementsAre("tiny.safetensors", "a.png"));
}

TEST_F(BadInput, OutputInAMissingFolder) {
  write_image(path("a.png"), sample_image(16, 16));
  expect_failure(img2tok({path("a.png"), path("no/such/out.safetensors")}), 4, "no/such");
}

TEST_F(BadInput, ManyPicturesIntoOneFile) {
  fs::create_directories(path("in"));
  write_image(path("in/a.png"), sample_image(16, 16));
  write_image(path("in/b.png"), sample_image(16, 16, 1));
  ASSERT_EQ(img2tok({path("in"), path("two.safetensors")}).exit_code, 0);
  expect_tok2img_refuses(path("two.safetensors"), 2, "folder");
}

TEST_F(BadInput, InfoOnGarbage) {
  write_text(path("garbage"), "garbage garbage garbage");
  expect_failure(lexel({"info", path("garbage")}), 3, "garbage");
  expect_failure(lexel({"info", path("missing")}), 4, "missing");
}

}  // namespace
}  // namespace lexel::tests
