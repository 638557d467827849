#include "apps/data/run_program.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <spawn.h>
#include <sstream>
#include <sys/wait.h>

#include "kernels/check.h"
#include "tokenizers/io/atomic_file.h"

extern char** environ;

namespace lexel::data {
namespace {

constexpr int64_t kMaxLogBytes = 1LL << 26;

std::string last_line(const std::string& log) {
  const std::vector<uint8_t> data = read_file(log, kMaxLogBytes);
  std::istringstream lines(std::string(data.begin(), data.end()));
  std::string last;
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty()) last = line;
  }
  return last.empty() ? "no reason given" : last;
}

}  // namespace

void run_program(const std::vector<std::string>& arguments, const std::string& folder,
                 const std::string& cure) {
  const std::string log = folder + "/output.log";
  std::vector<char*> pointers;
  for (const std::string& argument : arguments)
    pointers.push_back(const_cast<char*>(argument.c_str()));
  pointers.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addchdir_np(&actions, folder.c_str());
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, "output.log", O_WRONLY | O_CREAT | O_TRUNC, 0644);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  pid_t child = 0;
  const int error = posix_spawnp(&child, pointers[0], &actions, nullptr, pointers.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  check(error != ENOENT, ErrorKind::kUnsupported, arguments[0], ": not found; ", cure);
  check(error == 0, ErrorKind::kIo, arguments[0], ": cannot be started: ", std::strerror(error));

  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    check(errno == EINTR, ErrorKind::kInternal, arguments[0],
          ": cannot be waited for: ", std::strerror(errno));
  }
  check(WIFEXITED(status) && WEXITSTATUS(status) == 0, ErrorKind::kIo, arguments[0],
        " failed: ", last_line(log), "; ", cure);
}

}  // namespace lexel::data
