#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "tests/apps/programs_fixture.h"

namespace lexel::tests {
namespace {

using ::testing::HasSubstr;

class Info : public ProgramsTest {};

TEST_F(Info, ExplainsAModelFile) {
  const ProgramResult result = lexel({"info", model()});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("model file: vit_vqgan"));
  EXPECT_THAT(result.out, HasSubstr("codebook_size: 32"));
}

TEST_F(Info, ExplainsATokenFile) {
  write_image(path("a.png"), sample_image(40, 30));
  ASSERT_EQ(img2tok({path("a.png"), path("a.safetensors")}).exit_code, 0);
  const ProgramResult result = lexel({"info", "--json", path("a.safetensors")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["what"], "token file");
  EXPECT_EQ(json["pictures"], 1);
  EXPECT_EQ(json["tokens"], 16);
  EXPECT_THAT(json["first pictures"][0].get<std::string>(), HasSubstr("40x30"));
}

TEST_F(Info, ExplainsAPicture) {
  write_image(path("a.png"), sample_image(40, 30));
  const ProgramResult result = lexel({"info", path("a.png")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("40x30"));
}

}  // namespace
}  // namespace lexel::tests
