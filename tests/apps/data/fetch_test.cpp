#include "apps/data/fetch.h"

#include <ATen/ops/full.h>
#include <filesystem>
#include <gtest/gtest.h>
#include <sstream>

#include "apps/data/run_program.h"
#include "kernels/check.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/image.h"

namespace lexel::data {
namespace {

namespace fs = std::filesystem;
using tests::expect_error;
using tests::TemporaryFolder;

// A package named `name` with one picture at `path`.
void make_deb(const TemporaryFolder& folder, const std::string& name, const std::string& path) {
  const fs::path root = folder / "package";
  fs::create_directories(root / "DEBIAN");
  write_file(root / "DEBIAN/control",
             "Package: " + name +
                 "\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b>\nDescription: toy\n");
  fs::create_directories((root / path).parent_path());
  write_image(root / path, {at::full({20, 30, 3}, 9, at::kByte)});
  fs::create_directories(folder / "debs");
  run_program({"dpkg-deb", "-b", root, folder / ("debs/" + name + "_1_all.deb")}, folder.path(),
              "");
}

TEST(Fetch, UnpacksPacksRecordsAndCleansUp) {
  const TemporaryFolder folder;
  make_deb(folder, "lomiri-wallpapers-20.04", "usr/share/backgrounds/Kleiber_by_me.jpg");
  const FetchOptions options{{"wallpapers-heldout"}, folder / "out/deep", folder / "debs"};
  std::ostringstream log, table;
  run_data_fetch(options, log);
  EXPECT_NE(log.str().find("wallpapers-heldout: 0 to train on, 1 held out"), std::string::npos)
      << log.str();
  EXPECT_TRUE(fs::exists(folder / "out/deep/wallpapers-heldout-heldout-00000.tar"));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder / "out/deep"), {}), 2);  // and the record
  run_data_fetch(options, log);
  EXPECT_NE(log.str().find("wallpapers-heldout: is there already"), std::string::npos) << log.str();
  run_data_list(folder / "out/deep", table);
  EXPECT_NE(table.str().find("0 + 1"), std::string::npos) << table.str();
}

TEST(Fetch, RefusesUnknownSetsBeforeItFetchesAny) {
  const TemporaryFolder folder;
  std::ostringstream log;
  expect_error(ErrorKind::kUsage, "got imagenet", [&] {
    run_data_fetch({.sets = {"skimage", "imagenet"}, .output = folder / "out"}, log);
  });
  expect_error(ErrorKind::kUsage, "at least one set",
               [&] { run_data_fetch({.sets = {}, .output = folder / "out"}, log); });
  EXPECT_FALSE(fs::exists(folder / "out"));
}

TEST(Fetch, ADamagedPackageIsAnIoErrorAndLeavesNothing) {
  const TemporaryFolder folder;
  fs::create_directories(folder / "debs");
  write_file(folder / "debs/lomiri-wallpapers-20.04_1_all.deb", "not a package");
  std::ostringstream log;
  expect_error(ErrorKind::kIo, "dpkg-deb failed", [&] {
    run_data_fetch({{"wallpapers-heldout"}, folder / "out", folder / "debs"}, log);
  });
  EXPECT_TRUE(fs::is_empty(folder / "out"));
}

TEST(List, NamesEverySetItsLicenceAndWhatIsHeldOut) {
  const TemporaryFolder folder;
  std::ostringstream table;
  run_data_list(folder.path(), table);
  for (const char* text : {"wallpapers", "openclipart", "public domain", "fashion-mnist",
                           "perceptual", "smollm2", "never trained on"}) {
    EXPECT_NE(table.str().find(text), std::string::npos) << text;
  }
}

TEST(List, RefusesADamagedRecord) {
  const TemporaryFolder folder;
  write_file(folder / "skimage.json", "[]");
  std::ostringstream table;
  expect_error(ErrorKind::kBadData, "skimage.json: is not a record",
               [&] { run_data_list(folder.path(), table); });
}

}  // namespace
}  // namespace lexel::data
