#include <gtest/gtest.h>

#include "apps/train/run_log.h"
#include "tests/apps/train/tokenizer/made_pictures.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"
#include "tokenizers/io/atomic_file.h"

namespace lexel::train {
namespace {

using tests::expect_error;
using tests::made_picture;
using tests::TemporaryFolder;

std::string text_of(const std::filesystem::path& path) {
  const auto bytes = read_file(path.string(), 1 << 24);
  return {bytes.begin(), bytes.end()};
}

TEST(RunLog, IsCutToWhatTheCheckpointKnows) {
  const TemporaryFolder folder;
  const std::string path = (folder / "metrics.jsonl").string();
  int64_t bytes = 0;
  {
    RunLog log(path, 0);
    log.append("{\"step\":1}");
    bytes = log.bytes();
    log.append("{\"step\":2}");
  }
  RunLog log(path, bytes);
  log.append("{\"step\":3}");
  EXPECT_EQ(text_of(path), "{\"step\":1}\n{\"step\":3}\n");
  EXPECT_EQ(log.bytes(), 22);
}

TEST(RunLog, ShorterThanTheCheckpointSaysIsAnError) {
  const TemporaryFolder folder;
  expect_error(ErrorKind::kIo, "expected at least 5 bytes",
               [&] { RunLog((folder / "none.jsonl").string(), 5); });
  expect_error(ErrorKind::kIo, "cannot be written",
               [&] { RunLog((folder / "no/folder/m.jsonl").string(), 0); });
}

TEST(Report, HoldsCurvesTableAndPicturesInOneFile) {
  const TemporaryFolder folder;
  RunLog log((folder / "metrics.jsonl").string(), 0);
  for (int step = 1; step <= 3; ++step) {
    const std::string n = std::to_string(step);
    log.append("{\"type\":\"step\",\"step\":" + n + ",\"usage\":0.5,\"losses\":{\"loss\":0." + n +
               "}}");
    log.append("{\"type\":\"eval\",\"step\":" + n +
               ",\"sets\":{\"sharp photos\":{\"pictures\":4,\"psnr\":2" + n +
               ".5,\"mosaic\":18.2,\"kmeans\":null}}}");
  }
  write_image((folder / "samples.png").string(), made_picture(1, 16, 16));
  write_report(folder.path().string());
  const std::string html = text_of(folder / "report.html");
  EXPECT_NE(html.find("<svg"), std::string::npos);
  EXPECT_NE(html.find("PSNR, held-out sharp photos, dB"), std::string::npos);
  EXPECT_NE(html.find("mosaic 18.2"), std::string::npos);
  EXPECT_NE(html.find("23.5 dB"), std::string::npos);
  EXPECT_NE(html.find("data:image/png;base64,iVBOR"), std::string::npos);
  EXPECT_EQ(html.find("http"), std::string::npos);  // self-contained
}

TEST(Report, OfAnEmptyRunIsStillAPage) {
  const TemporaryFolder folder;
  RunLog((folder / "metrics.jsonl").string(), 0);
  write_report(folder.path().string());
  EXPECT_NE(text_of(folder / "report.html").find("<h1>"), std::string::npos);
}

}  // namespace
}  // namespace lexel::train
