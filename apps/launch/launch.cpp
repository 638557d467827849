#include "apps/launch/launch.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <signal.h>
#include <string>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "autoregressive/parallel/meeting_host.h"
#include "kernels/check.h"

namespace lexel::cli {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

constexpr auto kPoll = std::chrono::milliseconds(20);
constexpr Seconds kAfterTerminate{5.0};  // then they are killed

volatile std::sig_atomic_t passed_on = 0;  // the last signal that this process got

void keep_signal(int number) { passed_on = number; }

/// Signals go to all ranks: a terminal sends Ctrl-C to them itself, other senders do not.
class PassSignals {
 public:
  PassSignals() {
    passed_on = 0;
    struct sigaction action {};
    action.sa_handler = keep_signal;
    sigaction(SIGINT, &action, &interrupt_);
    sigaction(SIGTERM, &action, &terminate_);
  }
  ~PassSignals() {
    sigaction(SIGINT, &interrupt_, nullptr);
    sigaction(SIGTERM, &terminate_, nullptr);
  }
  PassSignals(const PassSignals&) = delete;
  PassSignals& operator=(const PassSignals&) = delete;

 private:
  struct sigaction interrupt_ {
  }, terminate_{};
};

struct Rank {
  pid_t process = -1;
  bool running = false;
};

/// The environment of a rank: this process's with the variables that torchrun sets.
std::vector<std::string> environment_of(int64_t rank, int64_t ranks, uint16_t port) {
  std::vector<std::string> all;
  const bool threads_set = std::getenv("OMP_NUM_THREADS") != nullptr;
  for (char** entry = environ; *entry != nullptr; ++entry) all.emplace_back(*entry);
  const auto set = [&all](const std::string& name, const std::string& value) {
    std::erase_if(all, [&](const std::string& entry) { return entry.rfind(name + "=", 0) == 0; });
    all.push_back(name + "=" + value);
  };
  set("RANK", std::to_string(rank));
  set("LOCAL_RANK", std::to_string(rank));
  set("WORLD_SIZE", std::to_string(ranks));
  set("LOCAL_WORLD_SIZE", std::to_string(ranks));
  set("MASTER_ADDR", "127.0.0.1");
  set("MASTER_PORT", std::to_string(port));
  set("TORCHELASTIC_USE_AGENT_STORE", "True");  // this process holds the store
  set("TORCHELASTIC_RESTART_COUNT", "0");
  set("LEXEL_LAUNCHER", "lexel launch");
  const int64_t cores = std::max<int64_t>(1, std::thread::hardware_concurrency());
  if (!threads_set) set("OMP_NUM_THREADS", std::to_string(std::max<int64_t>(1, cores / ranks)));
  return all;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

pid_t start(const std::vector<std::string>& command, int64_t rank, int64_t ranks, uint16_t port) {
  std::vector<std::string> arguments = command, environment = environment_of(rank, ranks, port);
  const std::vector<char*> argv = pointers(arguments), envp = pointers(environment);
  const pid_t parent = getpid();
  const pid_t child = fork();
  check(child >= 0, ErrorKind::kInternal, "rank ", rank,
        " cannot be started: ", std::strerror(errno));
  if (child > 0) return child;
  // Only calls that are safe between fork and exec from here on.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  signal(SIGINT, SIG_DFL);
  signal(SIGTERM, SIG_DFL);
  execvpe(argv[0], argv.data(), envp.data());
  _exit(127);
}

/// "ended with code 3", "was killed by signal 9 (Killed)".
std::string manner(int status) {
  if (WIFSIGNALED(status))
    return concat("was killed by signal ", WTERMSIG(status), " (", strsignal(WTERMSIG(status)),
                  ")");
  return concat("ended with code ", WEXITSTATUS(status));
}

int code_of(int status) {
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

void send_all(const std::vector<Rank>& ranks, int number) {
  for (const Rank& rank : ranks)
    if (rank.running) kill(rank.process, number);
}

}  // namespace

int run_launch(const LaunchOptions& options) {
  check(!options.command.empty(), ErrorKind::kUsage, "a command is needed after --");
  check(options.ranks >= 1, ErrorKind::kUsage, "--ranks: expected at least 1, got ", options.ranks);
  const parallel::MeetingHost host;
  const PassSignals signals;
  std::vector<Rank> ranks(static_cast<size_t>(options.ranks));
  for (size_t r = 0; r < ranks.size(); ++r)
    ranks[r] = {start(options.command, static_cast<int64_t>(r), options.ranks, host.port()), true};

  int code = 0;
  size_t running = ranks.size();
  int stage = 0;  // of ending the others: 0 not, 1 grace, 2 SIGTERM sent, 3 SIGKILL sent
  Clock::time_point next_stage{};
  while (running > 0) {
    for (size_t r = 0; r < ranks.size(); ++r) {
      int status = 0;
      if (!ranks[r].running || waitpid(ranks[r].process, &status, WNOHANG) != ranks[r].process)
        continue;
      ranks[r].running = false;
      --running;
      if (code_of(status) == 0 || code != 0) continue;
      code = code_of(status);
      if (WIFEXITED(status) && code == 127)
        std::cerr << "lexel launch: " << options.command[0] << " cannot be run\n";
      else
        std::cerr << "lexel launch: rank " << r << ' ' << manner(status)
                  << (running > 0 ? "; ending the others\n" : "\n");
      stage = 1;
      next_stage =
          Clock::now() + std::chrono::duration_cast<Clock::duration>(Seconds(options.grace));
    }
    if (passed_on != 0) {
      send_all(ranks, passed_on);
      passed_on = 0;
    }
    if (stage >= 1 && stage < 3 && Clock::now() >= next_stage) {
      send_all(ranks, stage == 1 ? SIGTERM : SIGKILL);
      ++stage;
      next_stage = Clock::now() + std::chrono::duration_cast<Clock::duration>(kAfterTerminate);
    }
    if (running > 0) std::this_thread::sleep_for(kPoll);
  }
  return code;
}

}  // namespace lexel::cli
