#include "apps/eval/generator/gallery.h"

#include <gmock/gmock.h>

namespace lexel::eval {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const std::vector<Prompt> kPrompts{{"a cat", "Animals", "Basic", ""},
                                   {"<b> & \"c\"", "Arts", "Writing", "x > y"},
                                   {"a dog", "Animals", "Basic", ""},
                                   {"a cow", "Animals", "Basic", ""}};

TEST(Gallery, TakesTheFirstOfEachCategory) {
  EXPECT_EQ(chosen_prompts(kPrompts, 0).size(), 4u);
  const std::vector<Prompt> two = chosen_prompts(kPrompts, 2);
  ASSERT_EQ(two.size(), 3u);
  EXPECT_EQ(two[0].text, "a cat");
  EXPECT_EQ(two[2].text, "a dog");
}

TEST(Gallery, ShowsEachPromptInItsCategory) {
  const std::string page = gallery_page(kPrompts, "drawn by <x>");
  EXPECT_THAT(page, HasSubstr("<h2>Animals</h2>"));
  EXPECT_LT(page.find("a cow"), page.find("<h2>Arts</h2>"));
  EXPECT_THAT(page, HasSubstr("pictures/0004.png"));
  EXPECT_EQ(gallery_picture(3), "pictures/0004.png");
}

TEST(Gallery, TextIsTextAndNotMarkup) {
  const std::string page = gallery_page(kPrompts, "drawn by <x>");
  EXPECT_THAT(page, HasSubstr("&lt;b&gt; &amp; &quot;c&quot;"));
  EXPECT_THAT(page, Not(HasSubstr("<b>")));
  EXPECT_THAT(page, HasSubstr("drawn by &lt;x&gt;"));
  EXPECT_THAT(page, HasSubstr("title=\"Writing: x &gt; y\""));
  EXPECT_THAT(page, Not(HasSubstr("http")));
}

}  // namespace
}  // namespace lexel::eval
