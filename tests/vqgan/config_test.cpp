#include "vqgan/config.h"

#include <gtest/gtest.h>
#include <set>
#include <string>

#include "tests/support/expect_error.h"

namespace lexel::vqgan {
namespace {

using tests::expect_error;

TEST(ConfigTest, PresetsAreValid) {
  for (const std::string& name : preset_names()) EXPECT_NO_THROW(validate(preset(name))) << name;
}

TEST(ConfigTest, PaperPairsHaveTheNumbersOfTable2) {
  const Config config = vit_vqgan_sl();
  EXPECT_EQ(config.encoder.depth, 8);
  EXPECT_EQ(config.encoder.width, 512);
  EXPECT_EQ(config.encoder.hidden, 2048);
  EXPECT_EQ(config.decoder.depth, 32);
  EXPECT_EQ(config.decoder.heads, 16);
  EXPECT_EQ(config.decoder.width, 1280);
  EXPECT_EQ(config.decoder.hidden, 5120);
  EXPECT_EQ(config.decoder.heads * config.decoder.head_width, 1280);
  EXPECT_EQ(vit_vqgan_bb().decoder.width, 768);
  EXPECT_EQ(config.codebook_size, 8192);
  EXPECT_EQ(config.code_width, 32);
}

TEST(ConfigTest, UnknownPresetListsTheNames) {
  expect_error(ErrorKind::kUsage, "ss, bb, sl, lexel-128, got huge", [] { preset("huge"); });
}

TEST(ConfigTest, EveryFieldIsVisitedOnce) {
  std::set<std::string> names;
  int visits = 0;
  Config config;
  visit_fields(config, [&](const std::string& name, auto&) {
    names.insert(name);
    ++visits;
  });
  EXPECT_EQ(visits, 30);
  EXPECT_EQ(names.size(), 30U);
}

struct Wrong {
  const char* message;  // part of it: the field, what it takes, the value
  void (*change)(Config&);
};

class WrongConfigTest : public testing::TestWithParam<Wrong> {};

TEST_P(WrongConfigTest, IsNamedWithItsValue) {
  Config config;
  GetParam().change(config);
  expect_error(ErrorKind::kUsage, GetParam().message, [&] { validate(config); });
}

INSTANTIATE_TEST_SUITE_P(
    Config, WrongConfigTest,
    testing::Values(
        Wrong{"image_size: expected 1 to 4096, got 0", [](Config& c) { c.image_size = 0; }},
        Wrong{"image_size: expected a multiple of patch_size 8, got 100",
              [](Config& c) { c.image_size = 100; }},
        Wrong{"patch_size: expected 1 to 64, got -8", [](Config& c) { c.patch_size = -8; }},
        Wrong{"encoder.depth: expected 0 to 256, got -1", [](Config& c) { c.encoder.depth = -1; }},
        Wrong{"decoder.heads: expected 1 to 256, got 0", [](Config& c) { c.decoder.heads = 0; }},
        Wrong{"encoder.activation: expected one of gelu, tanh, got relu",
              [](Config& c) { c.encoder.activation = "relu"; }},
        Wrong{"codebook_size: expected 1 to 262144, got 262145",
              [](Config& c) { c.codebook_size = 262145; }},
        Wrong{"code_width: expected 1 to 1024, got 0", [](Config& c) { c.code_width = 0; }},
        Wrong{"positions: expected one of learned, sincos, got rotary",
              [](Config& c) { c.positions = "rotary"; }},
        Wrong{"decoder.width: expected a multiple of 4 for sincos positions, got 510",
              [](Config& c) {
                c.positions = "sincos";
                c.decoder.width = 510;
              }},
        Wrong{"output: expected one of rgb, logit_laplace, got yuv",
              [](Config& c) { c.output = "yuv"; }},
        Wrong{"pixel_center: expected -1 to 1, got nan",
              [](Config& c) { c.pixel_center = __builtin_nan(""); }},
        Wrong{"conv_stride: expected a divisor of patch_size 8, got 3",
              [](Config& c) {
                c.refine_width = 8;
                c.conv_stride = 3;
              }},
        Wrong{"linear_path: expected normalize_codes with it, got false",
              [](Config& c) {
                c.linear_path = true;
                c.normalize_codes = false;
              }},
        Wrong{"linear_path: expected output rgb with it, got logit_laplace",
              [](Config& c) {
                c.linear_path = true;
                c.output = "logit_laplace";
              }},
        Wrong{"code_width: expected 2 to 193 with linear_path, got 194", [](Config& c) {
                c.linear_path = true;
                c.code_width = 194;
              }}));

}  // namespace
}  // namespace lexel::vqgan
