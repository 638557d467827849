#include "tokenizers/io/config_json.h"

#include <gtest/gtest.h>

#include "tests/support/expect_error.h"

namespace lexel {
namespace {

using tests::expect_error;

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const auto at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

TEST(ConfigJson, EveryFieldComesBack) {
  vqgan::Config config = vqgan::vit_vqgan_sl();
  config.image_size = 128;
  config.decoder.activation = "tanh";
  config.encoder.qkv_bias = false;
  config.output = "logit_laplace";
  const std::string json = to_json(config);
  const vqgan::Config back = vqgan_config_from_json(json, "x");
  EXPECT_EQ(to_json(back), json);
  EXPECT_EQ(back.image_size, 128);
  EXPECT_EQ(back.decoder.activation, "tanh");
  EXPECT_FALSE(back.encoder.qkv_bias);
  int fields = 0;
  visit_fields(config, [&](const std::string& key, const auto&) {
    ++fields;
    EXPECT_NE(json.find("\"" + key + "\":"), std::string::npos) << key;
  });
  EXPECT_GT(fields, 20);
}

TEST(ConfigJson, MissingUnknownAndDoubledKeysAreNamed) {
  const std::string json = to_json(vqgan::Config{});
  expect_error(ErrorKind::kBadData, "x: key \"encoder.depth\" is missing",
               [&] { vqgan_config_from_json(replaced(json, "\"encoder.depth\":8,", ""), "x"); });
  expect_error(ErrorKind::kBadData, "unknown key \"colour\"",
               [&] { vqgan_config_from_json(replaced(json, "{", "{\"colour\":1,"), "x"); });
  expect_error(ErrorKind::kBadData, "key \"image_size\" twice",
               [&] { vqgan_config_from_json(replaced(json, "{", "{\"image_size\":1,"), "x"); });
}

TEST(ConfigJson, WrongTypesAreNamed) {
  const std::string json = to_json(vqgan::Config{});
  for (const char* value : {"\"256\"", "256.5", "null", "true", "18446744073709551615"}) {
    expect_error(ErrorKind::kBadData, "key \"image_size\"", [&] {
      vqgan_config_from_json(
          replaced(json, "\"image_size\":256", std::string("\"image_size\":") + value), "x");
    });
  }
  expect_error(ErrorKind::kBadData, "key \"output\": expected text, got 3", [&] {
    vqgan_config_from_json(replaced(json, "\"output\":\"rgb\"", "\"output\":3"), "x");
  });
  expect_error(ErrorKind::kBadData, "nested",
               [&] { vqgan_config_from_json(replaced(json, "256", "{\"a\":1}"), "x"); });
  expect_error(ErrorKind::kBadData, "not a JSON object", [] { vqgan_config_from_json("[", "x"); });
}

TEST(ConfigJson, ValueThatCannotBeIsBadDataOfTheFile) {
  const std::string json = to_json(vqgan::Config{});
  expect_error(ErrorKind::kBadData, "x: ", [&] {
    vqgan_config_from_json(replaced(json, "\"image_size\":256", "\"image_size\":-8"), "x");
  });
}

TEST(ConfigJson, PreprocessComesBack) {
  Preprocess preprocess;
  preprocess.image_size = 128;
  preprocess.fit = "tiles";
  preprocess.kernel = "box";
  const Preprocess back = preprocess_from_json(to_json(preprocess), "x");
  EXPECT_EQ(back.image_size, 128);
  EXPECT_EQ(back.fit, "tiles");
  EXPECT_EQ(back.kernel, "box");
  expect_error(ErrorKind::kBadData, "key \"fit\" is missing",
               [] { preprocess_from_json(R"({"image_size":1,"kernel":"box"})", "x"); });
}

}  // namespace
}  // namespace lexel
