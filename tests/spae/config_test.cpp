#include "spae/config.h"

#include <gtest/gtest.h>
#include <set>

#include "spae/pyramid.h"
#include "tests/support/expect_error.h"

namespace lexel::spae {
namespace {

using tests::expect_error;

TEST(ConfigTest, PresetsAreValid) {
  for (const std::string& name : preset_names()) EXPECT_NO_THROW(validate(preset(name))) << name;
  EXPECT_EQ(make_pyramid(numbers("sides", spae_6().sides)).tokens(), 597);
  EXPECT_EQ(make_pyramid(numbers("sides", spae_8().sides)).tokens(), 1109);
  EXPECT_EQ(make_pyramid(numbers("sides", spae_128().sides)).tokens(), 597);
  expect_error(ErrorKind::kUsage, "spae-6, spae-8, spae-128, got huge", [] { preset("huge"); });
}

TEST(ConfigTest, EveryFieldIsVisitedOnce) {
  std::set<std::string> names;
  int visits = 0;
  Config config;
  visit_fields(config, [&](const std::string& name, auto&) {
    names.insert(name);
    ++visits;
  });
  EXPECT_EQ(visits, 41);
  EXPECT_EQ(names.size(), 41U);
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
    Fields, WrongConfigTest,
    testing::Values(
        Wrong{"sides: expected numbers of at least 1, got \"0\"",
              [](Config& c) { c.sides = "0 4"; }},
        Wrong{"got \"4x\"", [](Config& c) { c.sides = "1 4x"; }},
        Wrong{"sides: expected numbers, got none", [](Config& c) { c.sides.clear(); }},
        Wrong{"divide the last, 16, got 3", [](Config& c) { c.sides = "3 16"; }},
        Wrong{"image_size: expected a multiple of the finest side 16, got 100",
              [](Config& c) { c.image_size = 100; }},
        Wrong{"num_words: expected 1 to 262144, got 0", [](Config& c) { c.num_words = 0; }},
        Wrong{"code_width: expected 1 to 1024, got 2000", [](Config& c) { c.code_width = 2000; }},
        Wrong{"quantizer: expected one of saq, rq, got vq", [](Config& c) { c.quantizer = "vq"; }},
        Wrong{"unvisited: expected one of zero, nearest, got mean",
              [](Config& c) { c.unvisited = "mean"; }},
        Wrong{"body: expected one of cnn, vit, got mlp", [](Config& c) { c.body = "mlp"; }},
        Wrong{
            "cnn.multipliers: expected 128 pixels halved 2 times to be the finest side 16, got 32",
            [](Config& c) { c.cnn.multipliers = "1 2 2"; }},
        Wrong{"cnn.groups: expected a divisor of cnn.width 128, got 30",
              [](Config& c) { c.cnn.groups = 30; }},
        Wrong{"vit.patch_size: expected a multiple of 8 that divides 128, got 12",
              [](Config& c) {
                c.body = "vit";
                c.vit.patch_size = 12;
              }},
        Wrong{"vit: vqgan::validate: encoder.depth: expected 0 to 256, got -1",
              [](Config& c) {
                c.body = "vit";
                c.vit.encoder.depth = -1;
              }},
        Wrong{"pixel_center: expected -1 to 1, got 2", [](Config& c) { c.pixel_center = 2; }},
        Wrong{"feature_layers: expected layers that share no position, got 5", [](Config& c) {
                c.feature_width = 8;
                c.feature_layers = 5;
              }}));

}  // namespace
}  // namespace lexel::spae
