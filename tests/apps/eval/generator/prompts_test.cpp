#include "apps/eval/generator/prompts.h"

#include <gmock/gmock.h>

#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"
#include "tokenizers/io/atomic_file.h"

namespace lexel::eval {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using tests::expect_error;

const std::string kHeader = "Prompt\tCategory\tChallenge\tNote\n";

class PromptsTest : public testing::Test {
 protected:
  PromptFile read(const std::string& content) const {
    write_file(path_, content);
    return read_prompts(path_);
  }

  tests::TemporaryFolder folder_;
  std::string path_ = folder_ / "p.tsv";
};

TEST_F(PromptsTest, AQuotationMarkIsACharacter) {
  const PromptFile file = read(kHeader +
                               "a sign that says \"Hello\"\tWorld Knowledge\tWriting\tx\n"
                               "\"unbalanced\tAbstract\tBasic\t\n");
  ASSERT_EQ(file.prompts.size(), 2u);
  EXPECT_EQ(file.prompts[0].text, "a sign that says \"Hello\"");
  EXPECT_EQ(file.prompts[0].category, "World Knowledge");
  EXPECT_EQ(file.prompts[0].challenge, "Writing");
  EXPECT_EQ(file.prompts[0].note, "x");
  EXPECT_EQ(file.prompts[1].text, "\"unbalanced");
  EXPECT_EQ(file.prompts[1].note, "");
  EXPECT_THAT(file.problems, IsEmpty());
  EXPECT_EQ(file.hash.size(), 64u);
}

TEST_F(PromptsTest, LineEndsAndTheByteOrderMarkOfOtherSystems) {
  const PromptFile file = read(
      "\xEF\xBB\xBFPrompt\tCategory\tChallenge\tNote\r\n"
      "caf\xC3\xA9\tArts\tBasic\tn\r\n\r\nlast\tArts\tBasic\tn");
  ASSERT_EQ(file.prompts.size(), 2u);
  EXPECT_EQ(file.prompts[0].text, "caf\xC3\xA9");
  EXPECT_EQ(file.prompts[0].note, "n");
  EXPECT_EQ(file.prompts[1].text, "last");
}

TEST_F(PromptsTest, BrokenLinesAreNamedAndTheOthersKept) {
  const PromptFile file =
      read(kHeader + "good\tArts\tBasic\tn\n" + "too few\tArts\n" +
           "too\tmany\tfields\tin\there\n" + "\tArts\tBasic\tn\n" + "no category\t\tBasic\tn\n" +
           "bad \xFF\tArts\tBasic\tn\n" + "also good\tArts\tBasic\tn\n");
  EXPECT_EQ(file.prompts.size(), 2u);
  EXPECT_THAT(file.problems,
              ElementsAre(HasSubstr("p.tsv:3: expected 4 fields between tabs, got 2"),
                          HasSubstr("p.tsv:4: expected 4 fields between tabs, got 5"),
                          HasSubstr("p.tsv:5: no prompt"), HasSubstr("p.tsv:6: no category"),
                          HasSubstr("p.tsv:7: not UTF-8")));
}

TEST_F(PromptsTest, RefusesOtherFiles) {
  expect_error(ErrorKind::kBadData, "p.tsv:1: expected the columns",
               [&] { read("Prompt,Category,Challenge,Note\na,b,c,d\n"); });
  expect_error(ErrorKind::kBadData, "has no prompts", [&] { read(kHeader); });
  expect_error(ErrorKind::kBadData, "has no prompts", [&] { read(""); });
  expect_error(ErrorKind::kIo, "missing.tsv", [&] { read_prompts(folder_ / "missing.tsv"); });
}

}  // namespace
}  // namespace lexel::eval
