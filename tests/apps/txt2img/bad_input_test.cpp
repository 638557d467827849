#include <csignal>
#include <gmock/gmock.h>
#include <sys/resource.h>
#include <thread>

#include "autoregressive/decode.h"
#include "kernels/machine.h"
#include "tests/apps/txt2img/txt2img_fixture.h"

namespace lexel::tests {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// What the issue names as bad input to txt2img, against the real program.
class Txt2ImgBadInput : public Txt2ImgTest {
 protected:
  void expect_refused(std::vector<std::string> arguments, int exit_code, const std::string& words) {
    arguments.insert(arguments.end(), {"-o", path("out.png")});
    expect_failure(txt2img(arguments), exit_code, words);
    EXPECT_FALSE(fs::exists(path("out.png")));
  }
};

TEST_F(Txt2ImgBadInput, ValuesThatCannotBeAreUsageErrors) {
  for (const auto& [option, value] :
       std::vector<std::pair<std::string, std::string>>{{"--count", "0"},
                                                        {"--top-p", "2"},
                                                        {"--top-p", "nan"},
                                                        {"--top-p", "0"},
                                                        {"--temperature", "-1"},
                                                        {"--guidance", "inf"},
                                                        {"--guidance", "1x"},
                                                        {"--seed", "-1"},
                                                        {"--rerank", "0"},
                                                        {"--top-k", "-1"},
                                                        {"--precision", "int4"},
                                                        {"--preview-every", "1"},
                                                        {"--mask", "m.png"},
                                                        {"--keep-top", "3"},
                                                        {"--edit", "photo.png"},
                                                        {"--like", "a.png"}}) {
    expect_refused({"a fish", option, value}, 2, option.substr(2));
  }
  expect_failure(run_program({LEXEL_BIN_DIR "/txt2img"}), 2, "CAPTION");
  expect_refused({"--like", "a.png", "--seed", "3"}, 2, "excludes");
}

TEST_F(Txt2ImgBadInput, TheEmptyCaptionIsDrawnUnconditionallyAndSaid) {
  const std::string said = drawn({"", "-o", path("out.png")});
  EXPECT_THAT(said, HasSubstr("the caption is empty: drawn unconditionally"));
  EXPECT_EQ(text_of(path("out.png")).at("Description"), "");
}

TEST_F(Txt2ImgBadInput, TenThousandWordsAreCutAndSaid) {
  std::string caption;
  for (int i = 0; i < 10'000; ++i) caption += "fish ";
  const std::string said = drawn({caption, "-o", path("out.png")});
  EXPECT_THAT(said, HasSubstr("the caption is longer than 11 pieces of text: the rest was cut"));
  drawn({"--like", path("out.png"), "-o", path("again.png")});
  EXPECT_EQ(read_text(path("out.png")), read_text(path("again.png")));
}

TEST_F(Txt2ImgBadInput, InvalidUtf8) {
  expect_refused({"a \xFF fish"}, 3, "the caption: not UTF-8 at byte 2");
}

TEST_F(Txt2ImgBadInput, TheHeatmapSaysWhatItCannotRead) {
  write_image(path("photo.png"), sample_image(16, 16));
  const auto heat = [&](const std::string& caption) {
    return lexel({"heatmap", path("photo.png"), "--caption", caption, "--model", generator(),
                  "--tokenizer", model(), "--device", "cpu"});
  };
  std::string endless;
  for (int i = 0; i < 10'000; ++i) endless += "fish ";
  const ProgramResult cut = heat(endless);
  EXPECT_EQ(cut.exit_code, 0);
  EXPECT_EQ(cut.err,
            "lexel heatmap: the caption is longer than 11 pieces of text: the rest was cut\n");
  expect_failure(heat("a \xFF fish"), 3, "not UTF-8 at byte 2");
  write_model(model(), 2);
  expect_failure(heat("a fish"), 3, "was trained with the tokenizer tiny.safetensors");
}

TEST_F(Txt2ImgBadInput, ABrokenLineIsReportedAndTheRestIsDrawn) {
  write_text(path("captions.txt"), "a fish\n\na \xC3( car\na tree\n");
  const ProgramResult result = txt2img({"--prompts", path("captions.txt"), "-o", path("out/")});
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_THAT(result.err, HasSubstr("captions.txt, line 3: not UTF-8 at byte 2"));
  // The tree keeps its number, so mending the line changes nothing else.
  EXPECT_THAT(names_in(path("out")), ElementsAre("0000-a-fish.png", "0002-a-tree.png"));
  write_text(path("none.txt"), "\n\n");
  expect_failure(txt2img({"--prompts", path("none.txt")}), 3, "holds no caption");
  expect_failure(txt2img({"--prompts", path("missing.txt")}), 4, "missing.txt");
}

TEST_F(Txt2ImgBadInput, AGeneratorOfAnotherTokenizer) {
  write_model(model(), 2);
  expect_refused({"a fish"}, 3, "was trained with the tokenizer tiny.safetensors");
}

TEST_F(Txt2ImgBadInput, FilesThatAreNotWhatTheyShouldBe) {
  write_text(generator(), "garbage");
  expect_refused({"a fish"}, 3, "parti.safetensors");
  fs::copy_file(model(), generator(), fs::copy_options::overwrite_existing);
  expect_refused({"a fish"}, 5, "expected a model of kind parti");
  fs::remove(generator());
  expect_refused({"a fish"}, 4, "parti.safetensors");
}

TEST_F(Txt2ImgBadInput, AMaskOfAnotherSize) {
  write_image(path("photo.png"), sample_image(40, 30));
  write_image(path("mask.png"), sample_image(30, 40));
  expect_refused({"a hat", "--edit", path("photo.png"), "--mask", path("mask.png")}, 3,
                 "the mask has 30 x 40 pixels, the photo 40 x 30");
}

TEST_F(Txt2ImgBadInput, LogitsThatAreNotFiniteNameTheToken) {
  ar::Generator broken = tiny_generator(1);
  const at::NoGradGuard no_grad;
  broken.model.decoder_norm.weight.fill_(3e38);  // finite in the file, not in the logits
  broken.model.softmax.weight.fill_(1e38);
  write_model_file(generator(), ar::generator_file(broken, ar::Stored::kFloat32));
  for (const char* precision : {"fp32", "bf16"})
    expect_refused({"a fish", "--precision", precision}, 3, "the logits of token 0 of picture 0");
}

TEST_F(Txt2ImgBadInput, TooLittleMemoryIsSaidWithBothNumbersBeforeAnyWork) {
  ar::Config config = tiny_generator(1).model.config;
  config.grid_height = config.grid_width = 256;
  config.depth = 256;
  config.width = 96;
  config.hidden = 8;
  config.conv_layers = "";
  const int64_t needed = ar::Decoder::bytes(config, 2, at::kFloat);
  if (kernels::available_memory_bytes() > needed) GTEST_SKIP() << "there is memory for it";
  write_model(model(), 1, /*image_size=*/1024);  // 256 x 256 tokens
  ar::Generator large = tiny_generator(1);
  large.model = ar::make_model(config, 1, at::kCPU);
  write_model_file(generator(), ar::generator_file(large, ar::Stored::kBFloat16));
  expect_refused({"a fish", "--cache", "fp32"}, 5, concat("needs ", needed, " bytes of memory, "));
}

TEST_F(Txt2ImgBadInput, TheRecordOfAStranger) {
  const auto refuse = [&](const std::string& record, const std::string& words) {
    write_png(path("evil.png"), sample_image(16, 16), {{"Lexel", record}});
    expect_refused({"--like", path("evil.png")}, 3, words);
  };
  refuse("not JSON", "is not a JSON object");
  refuse("[]", "is not a JSON object");
  refuse(std::string(100'000, '['), "is not a JSON object");
  refuse("{}", "\"format\" is missing");
  refuse("{\"format\":\"1\"}", "\"format\": expected a whole number");
  refuse("{\"format\":1,\"caption\":7}", "\"caption\": expected text");
  drawn({"a fish", "-o", path("good.png")});
  const std::string good = text_of(path("good.png")).at("Lexel");
  const auto changed = [&](const std::string& from, const std::string& to) {
    std::string record = good;
    const size_t place = record.find(from);
    EXPECT_NE(place, std::string::npos) << from;
    return record.replace(place, from.size(), to);
  };
  refuse(changed("\"top_p\":0.95", "\"top_p\":2.0"), "top_p");
  refuse(changed("\"seed\":0", "\"seed\":-1"), "\"seed\"");
  refuse(changed("\"precision\":\"int8\"", "\"precision\":\"int2\""), "int2");
  refuse(changed("\"guidance\":1.5", "\"guidance\":1e999"), "is not a JSON object");
  write_png(path("new.png"), sample_image(16, 16),
            {{"Lexel", changed("\"format\":1", "\"format\":2")}});
  expect_refused({"--like", path("new.png")}, 5, "is newer than this program");
}

TEST_F(Txt2ImgBadInput, OutputsThatCannotBeWritten) {
  expect_failure(txt2img({"a fish", "-o", path("no/such/fish.png")}), 4, "no/such");
  expect_failure(txt2img({"a fish", "-o", path("fish.exe")}), 2, ".png");
  expect_failure(txt2img({"a fish", "a car", "-o", path("two.png")}), 2, "expected a folder");
  expect_failure(txt2img({"a fish", "a car", "-o", "-"}), 2, "expected a folder");
  write_text(path("file"), "x");
  expect_failure(txt2img({"a fish", "-o", path("file/")}), 4, "file");
}

TEST_F(Txt2ImgBadInput, AFullDiskLeavesNothing) {
  rlimit old{};
  getrlimit(RLIMIT_FSIZE, &old);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);  // inherited: write() then returns EFBIG
  rlimit small = old;
  small.rlim_cur = 300;  // less than any picture, more than the message
  setrlimit(RLIMIT_FSIZE, &small);
  const ProgramResult result = txt2img({"a fish", "-o", path("out.png")});
  setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, handler);
  expect_failure(result, 4, "out.png");
  EXPECT_THAT(names_in(folder_.path().string()),
              ::testing::UnorderedElementsAre("parti.safetensors", "tiny.safetensors"));
}

TEST_F(Txt2ImgBadInput, AStandardOutputThatIsFullIsSaid) {
  const ProgramResult result =
      run_program({"/bin/sh", "-c",
                   concat("exec ", LEXEL_BIN_DIR, "/txt2img --device cpu --model ", generator(),
                          " --tokenizer ", model(), " 'a fish' -o - >/dev/full")});
  expect_failure(result, 4, "standard output: No space left on device");
}

TEST_F(Txt2ImgBadInput, KilledHalfWayEveryPictureThereIsWhole) {
  const std::vector<std::string> arguments = {LEXEL_BIN_DIR "/txt2img",
                                              "--model",
                                              generator(),
                                              "--tokenizer",
                                              model(),
                                              "--device",
                                              "cpu",
                                              "-q",
                                              "a fish",
                                              "--count",
                                              "20000",
                                              "-o",
                                              path("out/")};
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  pid_t child = 0;
  ASSERT_EQ(posix_spawn(&child, argv[0], nullptr, nullptr, argv.data(), environ), 0);
  for (int i = 0; i < 600 && (!fs::exists(path("out")) || names_in(path("out")).size() < 20); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  kill(child, SIGKILL);
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status));
  int whole = 0;
  for (const std::string& name : names_in(path("out"))) {
    if (!name.ends_with(".png")) continue;  // at most one temporary file, under its own name
    EXPECT_NO_THROW(read_image(path("out/" + name))) << name;
    ++whole;
  }
  EXPECT_GE(whole, 19);
}

}  // namespace
}  // namespace lexel::tests
