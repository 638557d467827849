#include "apps/data/captions.h"

#include <filesystem>
#include <gtest/gtest.h>

#include "tests/support/temporary_folder.h"
#include "tokenizers/io/atomic_file.h"

namespace lexel::data {
namespace {

using tests::TemporaryFolder;

TEST(Captions, WordsOfAFileName) {
  EXPECT_EQ(words_of_file_name("a/b/Polar-bear_02.png"), "polar bear");
  EXPECT_EQ(words_of_file_name("cat1-a.gif"), "cat");
  EXPECT_EQ(words_of_file_name("a_simple_pig_01.png"), "a simple pig");
  EXPECT_EQ(words_of_file_name("1234.png"), "");
  EXPECT_EQ(first_word("a/Polar-bear_02.png"), "polar");
  EXPECT_EQ(first_word("a/1234.png"), "1234");
}

TEST(Captions, EmojiOfAFileName) {
  EXPECT_EQ(emoji_of_file_name("emoji_u1f600.png"), "\U0001F600");
  EXPECT_EQ(emoji_of_file_name("x/1F470-1F3FB.png"), "\U0001F470\U0001F3FB");
  EXPECT_EQ(emoji_of_file_name("0023-FE0F-20E3.png"), "#\u20E3");
  EXPECT_EQ(emoji_of_file_name("DE.png"), "\U0001F1E9\U0001F1EA");
  EXPECT_EQ(emoji_of_file_name("smile.png"), "");
  EXPECT_EQ(emoji_of_file_name("fffffff.png"), "");
}

TEST(Captions, NamesOfEmojiComeFromBothFiles) {
  const TemporaryFolder folder;
  const std::filesystem::path common = folder / "usr/share/unicode/cldr/common";
  std::filesystem::create_directories(common / "annotations");
  std::filesystem::create_directories(common / "annotationsDerived");
  write_file(common / "annotations/en.xml",
             "<annotation cp=\"\u2764\uFE0F\">heart</annotation>\n"
             "<annotation cp=\"\u2764\uFE0F\" type=\"tts\">red heart</annotation>\n"
             "<annotation cp=\"&amp;\" type=\"tts\">and &amp; so on</annotation>");
  write_file(common / "annotationsDerived/en.xml",
             "<annotation cp=\"\U0001F1E9\U0001F1EA\" type=\"tts\">flag: Germany</annotation>");
  const std::map<std::string, std::string> expected{
      {"\u2764", "red heart"}, {"&", "and & so on"}, {"\U0001F1E9\U0001F1EA", "flag: Germany"}};
  EXPECT_EQ(read_emoji_names(folder.path()), expected);
}

TEST(Captions, KeywordsOfEmojiAreThoseThatAreNoNames) {
  const TemporaryFolder folder;
  const std::filesystem::path common = folder / "usr/share/unicode/cldr/common";
  std::filesystem::create_directories(common / "annotations");
  std::filesystem::create_directories(common / "annotationsDerived");
  write_file(common / "annotations/en.xml",
             "<annotation cp=\"\U0001F638\">cat | Grinning  cat | face | cat | </annotation>\n"
             "<annotation cp=\"\U0001F638\" type=\"tts\">grinning cat</annotation>");
  write_file(common / "annotationsDerived/en.xml", "");
  const std::map<std::string, std::vector<std::string>> expected{
      {"\U0001F638", {"cat", "grinning cat", "face"}}};
  EXPECT_EQ(read_emoji_keywords(folder.path()), expected);
}

TEST(Captions, OpenclipartWordsThatKeywordsConfirm) {
  // Titles and keywords as the packages have them.
  EXPECT_EQ(openclipart_caption("Orange Juice Box (B and W)",
                                {"food", "juice", "menu", "orange", "beverage"}),
            "orange juice");
  EXPECT_EQ(openclipart_caption("Cats of Francesco Rollandin 02", {"cat", "animal"}), "cats");
  EXPECT_EQ(openclipart_caption("Clipart by Nicu Buculei - segmented", {"callout", "shape"}),
            "callout, shape");
  EXPECT_EQ(openclipart_caption("ABC Blocks", {"hash(0x897d730)", "toys", "hash", "recreation"}),
            "toys, recreation");
  EXPECT_EQ(openclipart_caption("Lemon SVG theme",
                                {"icon", "application", "lemon_theme_icon", "icons", "computer"}),
            "computer");
  EXPECT_EQ(openclipart_caption("X simbol", {}), "");
  EXPECT_EQ(openclipart_caption("", {"11", "Plant", "plant"}), "plant");
}

TEST(Captions, TitleAndKeywordsOfAnSvg) {
  EXPECT_EQ(svg_caption("<svg><metadata><dc:title>A  "
                        "Pig</dc:title><dc:creator><dc:title>me</dc:title></dc:creator>"
                        "<dc:subject><rdf:Bag><rdf:li>farm</rdf:li>\n<rdf:li>pigs &amp; "
                        "food</rdf:li><rdf:li></rdf:li><rdf:li>hash</rdf:li></rdf:Bag>"
                        "</dc:subject></metadata></svg>"),
            "pig");
  EXPECT_EQ(svg_keywords("<metadata><dc:subject><rdf:li>Farm</rdf:li><rdf:li>hash(0x1)</rdf:li>"
                         "<rdf:li>farm</rdf:li><rdf:li>pigs</rdf:li></dc:subject></metadata>"),
            (std::vector<std::string>{"farm", "pigs"}));
  EXPECT_TRUE(svg_keywords("").empty());
  EXPECT_EQ(svg_caption("<svg><metadata><dc:title>Pig"), "");
  EXPECT_EQ(svg_caption(""), "");
}

TEST(Captions, SidecarIsItsFirstLine) {
  const TemporaryFolder folder;
  write_file(folder / "a.txt", "A Sumatran tiger.\nde.utf8=Ein Tiger.\n");
  EXPECT_EQ(sidecar_caption(folder / "a.txt"), "A Sumatran tiger.");
  EXPECT_EQ(sidecar_caption(folder / "b.txt"), "");
}

}  // namespace
}  // namespace lexel::data
