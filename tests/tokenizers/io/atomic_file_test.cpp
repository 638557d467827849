#include "tokenizers/io/atomic_file.h"

#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <gtest/gtest.h>
#include <string>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/check.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

namespace lexel {
namespace {

using tests::expect_error;
using tests::TemporaryFolder;

std::string text_of(const std::string& path) {
  const std::vector<uint8_t> data = read_file(path, 1 << 20);
  return {data.begin(), data.end()};
}

int files_in(const TemporaryFolder& folder) {
  return static_cast<int>(std::distance(std::filesystem::directory_iterator(folder.path()), {}));
}

TEST(AtomicFile, AppearsOnCommitOnly) {
  const TemporaryFolder folder;
  AtomicFile file(folder / "a");
  file.write("whole", 5);
  EXPECT_FALSE(std::filesystem::exists(folder / "a"));
  file.commit();
  EXPECT_EQ(text_of(folder / "a"), "whole");
  EXPECT_EQ(files_in(folder), 1);
}

TEST(AtomicFile, WithoutCommitTheOldContentStays) {
  const TemporaryFolder folder;
  write_file(folder / "a", "old");
  {
    AtomicFile file(folder / "a");
    file.write("new", 3);
  }
  EXPECT_EQ(text_of(folder / "a"), "old");
  EXPECT_EQ(files_in(folder), 1);
}

TEST(AtomicFile, KeepsTheModeAndTheLink) {
  const TemporaryFolder folder;
  write_file(folder / "a", "old");
  ::chmod((folder / "a").c_str(), 0640);
  std::filesystem::create_symlink("a", folder / "link");
  write_file(folder / "link", "new");
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "link"));
  EXPECT_EQ(text_of(folder / "a"), "new");
  struct stat status = {};
  ASSERT_EQ(::stat((folder / "a").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0640u);
}

TEST(AtomicFile, RefusesFoldersAndMissingFolders) {
  expect_error(ErrorKind::kIo, "is a folder", [] { AtomicFile file("/tmp"); });
  expect_error(ErrorKind::kIo, "/no/such/folder/a: cannot be written: No such file",
               [] { AtomicFile file("/no/such/folder/a"); });
}

TEST(AtomicFile, ADeviceIsWrittenToAndNeverReplaced) {
  write_file("/dev/null", "gone");
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
}

TEST(AtomicFile, AFullDiskIsAnIoError) {
  expect_error(ErrorKind::kIo, "/dev/full: cannot be written: No space left",
               [] { write_file("/dev/full", "x"); });
}

// Runs `body` in a child and gives its wait status.
template <class Body>
int in_child(Body&& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    body();
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return status;
}

TEST(AtomicFile, AFileSizeLimitLeavesNothing) {
  const TemporaryFolder folder;
  const int status = in_child([&] {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1000, 1000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    try {
      write_file(folder / "a", std::string(5000, 'x'));
    } catch (const Error& error) {
      ::_exit(error.exit_code());
    }
  });
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), static_cast<int>(ErrorKind::kIo));
  EXPECT_EQ(files_in(folder), 0);
}

TEST(AtomicFile, KilledInTheMiddleLeavesTheOldContent) {
  const TemporaryFolder folder;
  write_file(folder / "a", "old");
  const int status = in_child([&] {
    AtomicFile file(folder / "a");
    file.write("new, but only ha", 16);
    ::kill(::getpid(), SIGKILL);
  });
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(text_of(folder / "a"), "old");
}

TEST(ReadFile, ChecksTheLimitBeforeItReads) {
  const TemporaryFolder folder;
  write_file(folder / "a", "12345");
  EXPECT_EQ(read_file(folder / "a", 5).size(), 5u);
  expect_error(ErrorKind::kBadData, "more than the 4 allowed", [&] { read_file(folder / "a", 4); });
  expect_error(ErrorKind::kBadData, "more than the 1000", [] { read_file("/dev/zero", 1000); });
}

TEST(ReadFile, ReadsPipesToTheirEnd) {
  const TemporaryFolder folder;
  const std::string pipe = folder / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const std::string sent(200'000, 'x');
  const pid_t writer = ::fork();
  if (writer == 0) {
    const int descriptor = ::open(pipe.c_str(), O_WRONLY);
    const ssize_t count = ::write(descriptor, sent.data(), sent.size());
    ::_exit(count == static_cast<ssize_t>(sent.size()) ? 0 : 1);
  }
  EXPECT_EQ(read_file(pipe, 1 << 20).size(), sent.size());
  ::waitpid(writer, nullptr, 0);
}

}  // namespace
}  // namespace lexel
