#include "tokenizers/io/picture_source.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>

#include "kernels/check.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"
#include "tokenizers/io/atomic_file.h"

namespace lexel {
namespace {

namespace fs = std::filesystem;
using tests::expect_error;
using tests::TemporaryFolder;

void add(TarWriter& tar, const std::string& member, const std::string& text) {
  tar.add(member, reinterpret_cast<const uint8_t*>(text.data()), text.size());
}

// "name=content" of each picture, "!message" of each error.
std::vector<std::string> read_all(const std::vector<std::string>& inputs) {
  PictureSource source(inputs);
  std::vector<std::string> found;
  for (PictureBytes picture;;) {
    try {
      if (!source.next(picture)) return found;
      found.push_back(picture.name + "=" + std::string(picture.data.begin(), picture.data.end()) +
                      (picture.json.empty() ? "" : "+" + picture.json));
    } catch (const Error& error) {
      found.push_back("!" + std::string(error.what()));
    }
    if (found.size() > 100) return found;
  }
}

using Names = std::vector<std::string>;

TEST(PictureSource, FoldersAreRecursiveAndSorted) {
  const TemporaryFolder folder;
  fs::create_directories(folder / "in/b/.hidden");
  for (const char* name :
       {"in/z.jpg", "in/a.PNG", "in/b/c.webp", "in/notes.md", "in/.d.jpg", "in/b/.hidden/e.jpg"}) {
    write_file(folder / name, "x");
  }
  EXPECT_EQ(read_all({folder / "in"}), (Names{"a.PNG=x", "b/c.webp=x", "z.jpg=x"}));
  EXPECT_EQ(PictureSource({folder / "in"}).size_hint(), 3);
}

TEST(PictureSource, TarsGiveSamplesWithTheirJsonOnEitherSide) {
  const TemporaryFolder folder;
  TarWriter tar(folder / "a.tar");
  add(tar, "./s/1.jpg", "one");
  add(tar, "s/1.json", "{1}");
  add(tar, "s/2.json", "{2}");
  add(tar, "s/2.png", "two");
  add(tar, "s/2.cls", "7");
  add(tar, "s/3.jpg", "three");
  tar.close();
  EXPECT_EQ(read_all({folder / "a.tar"}),
            (Names{"s/1.jpg=one+{1}", "s/2.png=two+{2}", "s/3.jpg=three"}));
  EXPECT_EQ(PictureSource({folder / "a.tar"}).size_hint(), -1);
}

TEST(PictureSource, ListsAreRelativeToThemselvesAndGoOnAfterAMissingFile) {
  const TemporaryFolder folder;
  fs::create_directories(folder / "pictures");
  write_file(folder / "pictures/a.jpg", "x");
  write_file(folder / "list.txt", "# a comment\npictures/a.jpg\n\nmissing.jpg\r\npictures/a.jpg");
  const Names found = read_all({folder / "list.txt"});
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0], "pictures/a.jpg=x");
  EXPECT_NE(found[1].find("missing.jpg: cannot be read"), std::string::npos) << found[1];
  EXPECT_EQ(found[2], "pictures/a.jpg=x");
}

TEST(PictureSource, ATruncatedTarGivesWhatIsWholeThenAnErrorThenTheNextInput) {
  const TemporaryFolder folder;
  TarWriter tar(folder / "a.tar");
  add(tar, "1.jpg", "one");
  add(tar, "2.jpg", std::string(5000, 'x'));
  tar.close();
  fs::resize_file(folder / "a.tar", 512 * 3 + 700);
  write_file(folder / "b.jpg", "b");
  const Names found = read_all({folder / "a.tar", folder / "b.jpg"});
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0], "1.jpg=one");
  EXPECT_NE(found[1].find("a.tar: 2.jpg: is truncated"), std::string::npos) << found[1];
  EXPECT_TRUE(found[2].ends_with("b.jpg=b"));
}

TEST(PictureSource, HostileMemberNamesAreReportedAndPassedOver) {
  const TemporaryFolder folder;
  TarWriter tar(folder / "a.tar");
  for (const char* name :
       {"../../etc/a.jpg", "/etc/a.jpg", "a/../../b.jpg", "a\nb.jpg", "good.jpg"}) {
    add(tar, name, "x");
  }
  tar.close();
  const Names found = read_all({folder / "a.tar"});
  ASSERT_EQ(found.size(), 5u);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_NE(found[i].find("hostile name"), std::string::npos) << found[i];
    EXPECT_EQ(found[i].find('\n'), std::string::npos);
  }
  EXPECT_EQ(found[4], "good.jpg=x");
}

// A header of a regular file of `octal` bytes, nothing after it.
void write_lying_tar(const std::string& path, const std::string& octal) {
  std::string header(512, '\0');
  header.replace(0, 5, "a.jpg");
  header.replace(100, 7, "0000644");
  header.replace(124, 11, octal);
  header.replace(136, 11, "00000000000");
  header[156] = '0';
  header.replace(257, 8, std::string("ustar\00000", 8));
  header.replace(148, 8, "        ");
  int sum = 0;
  for (const unsigned char c : header) sum += c;
  char text[16];
  std::snprintf(text, sizeof text, "%06o", static_cast<unsigned>(sum));
  header.replace(148, 7, std::string(text, 7));
  write_file(path, header);
}

TEST(PictureSource, LyingSizesTakeNoMemory) {
  const TemporaryFolder folder;
  write_lying_tar(folder / "a.tar", "77777777777");  // 8 GiB: past the limit
  write_lying_tar(folder / "b.tar", "03777777777");  // 512 MiB: allowed, and not there
  const Names found = read_all({folder / "a.tar", folder / "b.tar"});
  ASSERT_GE(found.size(), 2u);
  EXPECT_NE(found[0].find("a.tar: a.jpg: has 8589934591 bytes, more than"), std::string::npos)
      << found[0];
  EXPECT_NE(found.back().find("b.tar: a.jpg: is truncated"), std::string::npos) << found.back();
}

TEST(PictureSource, NamesAnInputThatIsNotThere) {
  expect_error(ErrorKind::kIo, "/no/such/a.jpg: cannot be read",
               [] { PictureSource({"/no/such/a.jpg"}); });
  expect_error(ErrorKind::kUsage, "at least one", [] { PictureSource({}); });
}

TEST(PictureSource, NotATarIsBadData) {
  const TemporaryFolder folder;
  write_file(folder / "a.tar", std::string(5000, 'z'));
  const Names found = read_all({folder / "a.tar"});
  ASSERT_EQ(found.size(), 1u);
  EXPECT_NE(found[0].find("a.tar: is not a"), std::string::npos) << found[0];
}

TEST(TarWriter, IsDeterministicAndAppearsOnCloseOnly) {
  const TemporaryFolder folder;
  const std::string longest = std::string(150, 'd') + "/" + std::string(200, 'n') + ".jpg";
  for (const char* name : {"a.tar", "b.tar"}) {
    TarWriter tar(folder / name);
    add(tar, longest, "long");
    add(tar, "empty.jpg", "");
    EXPECT_FALSE(fs::exists(folder / name));
    tar.close();
  }
  EXPECT_EQ(read_file(folder / "a.tar", 1 << 20), read_file(folder / "b.tar", 1 << 20));
  EXPECT_EQ(read_all({folder / "a.tar"}), (Names{longest + "=long", "empty.jpg="}));
}

TEST(TarWriter, LeavesNothingWithoutClose) {
  const TemporaryFolder folder;
  {
    TarWriter tar(folder / "a.tar");
    add(tar, "a.jpg", "x");
  }
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(TarWriter, AFullDiskIsAnIoError) {
  expect_error(ErrorKind::kIo, "/dev/full: cannot be written: No space left", [] {
    TarWriter tar("/dev/full");
    add(tar, "a.jpg", std::string(100'000, 'x'));
    tar.close();
  });
}

}  // namespace
}  // namespace lexel
