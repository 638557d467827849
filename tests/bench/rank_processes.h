#pragma once

#include <csignal>
#include <cstdint>
#include <fcntl.h>
#include <spawn.h>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include "autoregressive/parallel/meeting_host.h"
#include "kernels/check.h"

namespace lexel::tests {

/// Runs this program again as `ranks` processes of one thread each, which meet by world_from_environment(); what each wrote to
/// stdout. One that fails ends all.
///
/// throws   Error(kInternal) when one failed
inline std::vector<std::string> run_ranks(int64_t ranks, const std::vector<std::string>& given) {
  const parallel::MeetingHost host;
  std::vector<pid_t> processes;
  std::vector<int> outputs;
  for (int64_t rank = 0; rank < ranks; ++rank) {
    std::vector<std::string> environment;
    for (char** entry = environ; *entry != nullptr; ++entry) environment.emplace_back(*entry);
    for (const std::string& variable :
         {concat("RANK=", rank), concat("LOCAL_RANK=", rank), concat("WORLD_SIZE=", ranks),
          concat("MASTER_PORT=", host.port()), std::string("MASTER_ADDR=127.0.0.1"),
          std::string("TORCHELASTIC_USE_AGENT_STORE=True"), std::string("OMP_NUM_THREADS=1")}) {
      const std::string name = variable.substr(0, variable.find('=') + 1);
      std::erase_if(environment, [&](const std::string& e) { return e.starts_with(name); });
      environment.push_back(variable);
    }
    std::vector<std::string> arguments = given;
    arguments.insert(arguments.begin(), "/proc/self/exe");
    const auto pointers = [](std::vector<std::string>& texts) {
      std::vector<char*> all;
      for (std::string& text : texts) all.push_back(text.data());
      all.push_back(nullptr);
      return all;
    };
    int ends[2];
    check(pipe2(ends, O_CLOEXEC) == 0, ErrorKind::kInternal, "no pipe");
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    pid_t process = -1;
    const int error = posix_spawn(&process, "/proc/self/exe", &actions, nullptr,
                                  pointers(arguments).data(), pointers(environment).data());
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    outputs.push_back(ends[0]);
    check(error == 0, ErrorKind::kInternal, "a rank cannot be started");
    processes.push_back(process);
  }
  bool failed = false;
  std::vector<std::string> texts(processes.size());
  for (size_t left = processes.size(); left > 0; --left) {
    int status = 0;
    const pid_t ended = wait(&status);  // what they write fits a pipe
    if (ended < 0 || (WIFEXITED(status) && WEXITSTATUS(status) == 0)) continue;
    if (!failed) {
      for (const pid_t process : processes) {
        if (process != ended) kill(process, SIGKILL);
      }
    }
    failed = true;
  }
  for (size_t r = 0; r < outputs.size(); ++r) {
    char buffer[4096];
    for (ssize_t n = 0; (n = read(outputs[r], buffer, sizeof buffer)) > 0;) {
      texts[r].append(buffer, static_cast<size_t>(n));
    }
    close(outputs[r]);
  }
  check(!failed, ErrorKind::kInternal, "a rank failed");
  return texts;
}

}  // namespace lexel::tests
