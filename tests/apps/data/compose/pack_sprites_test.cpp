#include "apps/data/compose/pack_sprites.h"

#include <filesystem>
#include <gtest/gtest.h>
#include <sstream>

#include "apps/data/compose/sprites.h"
#include "apps/data/compose/things.h"
#include "tests/apps/data/compose/made_sprites.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"
#include "tokenizers/io/atomic_file.h"

namespace lexel::data {
namespace {

namespace fs = std::filesystem;
using tests::TemporaryFolder;

// Packages as Debian has them: Noto's picture of every thing, EmojiOne's of the cat only.
class PackSprites : public testing::Test {
 protected:
  void SetUp() override {
    const std::vector<uint8_t> png = encode_rgba(tests::made_disc(20, 20, 5, 250, 0, 0));
    for (const NamedThing& thing : named_things()) {
      std::ostringstream code;
      code << std::hex << static_cast<uint32_t>(thing.code_point);
      write("noto/usr/assets/images/tanuki_emoji/emoji_u" + code.str() + ".png", png);
      if (thing.name == "cat") write("one/usr/assets/png/" + code.str() + ".png", png);
    }
  }
  void write(const std::string& name, const std::vector<uint8_t>& data) {
    const fs::path path = folder / name;
    fs::create_directories(path.parent_path());
    write_file(path.string(), std::string(data.begin(), data.end()));
  }
  std::map<std::string, std::string> roots() const {
    return {{"ruby-tanuki-emoji", folder / "noto"}, {"ruby-gemojione", folder / "one"}};
  }
  TemporaryFolder folder;
};

TEST_F(PackSprites, MakesATarThatReadSpritesReads) {
  const PackCount count = pack_sprites(roots(), folder.path().string());
  EXPECT_EQ(count.train, static_cast<int64_t>(named_things().size()) + 1);
  const std::vector<SpriteThing> things = read_sprites(folder / "sprites.tar");
  ASSERT_EQ(things.size(), named_things().size());
  for (size_t i = 0; i < things.size(); ++i) {
    const NamedThing& named = named_things()[i];
    EXPECT_EQ(things[i].name, named.name);
    EXPECT_EQ(things[i].plural, named.plural);
    EXPECT_EQ(things[i].tintable, named.tintable);
    EXPECT_EQ(things[i].drawings.size(), named.name == "cat" ? 2u : 1u);
    EXPECT_EQ(things[i].drawings.back().drawing, "noto");
    EXPECT_EQ(things[i].drawings[0].picture.width(), 20);
  }
}

TEST_F(PackSprites, NamesAThingWithoutAPicture) {
  fs::remove(folder / "noto/usr/assets/images/tanuki_emoji/emoji_u1f680.png");
  tests::expect_error(ErrorKind::kBadData, "no drawing of rocket",
                      [&] { pack_sprites(roots(), folder.path().string()); });
  EXPECT_FALSE(fs::exists(folder / "sprites.tar"));
}

}  // namespace
}  // namespace lexel::data
