#include "autoregressive/parallel/world.h"

#include <ATen/Parallel.h>
#include <algorithm>
#include <arpa/inet.h>
#include <charconv>
#include <cstdlib>
#include <functional>
#include <netdb.h>
#include <optional>
#include <sys/socket.h>
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <unistd.h>

#include "autoregressive/parallel/meeting.h"
#include "kernels/check.h"

namespace lexel::parallel {
namespace {

constexpr int kFirstPort = 20000, kPorts = 20000;  // that a job's name is hashed to
constexpr int64_t kMostCores = int64_t{1} << 20;

std::optional<std::string> variable(const char* name) {
  const char* const value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return std::string(value);
}

int64_t number(const char* name, int64_t low, int64_t high) {
  const auto text = variable(name);
  check(text.has_value(), ErrorKind::kUsage, name, " is not set in the environment");
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  check(error == std::errc() && end == text->data() + text->size() && value >= low && value <= high,
        ErrorKind::kUsage, "the environment's ", name, ": expected ", low, " to ", high, ", got \"",
        *text, "\"");
  return value;
}

/// What a launcher says, before anything is connected.
struct Launch {
  std::string launcher;
  int64_t rank = 0, size = 1, local_rank = 0;
  std::string host = "127.0.0.1";
  int64_t port = 0;
  bool agent_holds_store = false;
  std::string prefix;  // of keys: a restarted job finds them fresh
};

int64_t port_of(const std::string& job) {
  if (variable("MASTER_PORT")) return number("MASTER_PORT", 1, 65535);
  return kFirstPort + static_cast<int64_t>(std::hash<std::string>{}(job) % kPorts);
}

void read_place(Launch& launch, const char* rank, const char* size, const char* local_rank) {
  launch.size = number(size, 1, int64_t{1} << 20);
  launch.rank = number(rank, 0, launch.size - 1);
  launch.local_rank = variable(local_rank) ? number(local_rank, 0, launch.size - 1) : launch.rank;
}

/// The ranks of one host share its cores. lexel launch and torchrun see to it by OMP_NUM_THREADS; with srun and mpirun each rank would
/// take all that it may run on, and threads that wait for each other in turn stand still.
void share_cores(int64_t cores, int64_t ranks) {
  if (variable("OMP_NUM_THREADS")) return;
  const int64_t share = std::max<int64_t>(1, cores / ranks);
  if (at::get_num_threads() > share) at::set_num_threads(static_cast<int>(share));
}

/// The first host of "node[03-07,9],other" is node03.
std::string first_host(const std::string& list) {
  const size_t bracket = list.find('['), comma = list.find(',');
  if (bracket == std::string::npos || comma < bracket) return list.substr(0, comma);
  return list.substr(0, bracket) +
         list.substr(bracket + 1, list.find_first_of("-,]", bracket + 1) - bracket - 1);
}

Launch read_environment() {
  Launch launch;
  if (variable("RANK") && variable("WORLD_SIZE")) {
    launch.launcher = variable("LEXEL_LAUNCHER").value_or("torchrun");
    read_place(launch, "RANK", "WORLD_SIZE", "LOCAL_RANK");
    if (launch.size == 1) return launch;
    launch.host = variable("MASTER_ADDR").value_or(launch.host);
    launch.port = number("MASTER_PORT", 1, 65535);
    launch.agent_holds_store = variable("TORCHELASTIC_USE_AGENT_STORE").value_or("") == "True";
    launch.prefix = concat("lexel/", variable("TORCHELASTIC_RUN_ID").value_or(""), "/",
                           variable("TORCHELASTIC_RESTART_COUNT").value_or("0"));
  } else if (variable("OMPI_COMM_WORLD_RANK")) {
    launch.launcher = "mpirun";
    read_place(launch, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
               "OMPI_COMM_WORLD_LOCAL_RANK");
    const bool one_host = variable("OMPI_COMM_WORLD_LOCAL_SIZE") &&
                          number("OMPI_COMM_WORLD_LOCAL_SIZE", 1, launch.size) == launch.size;
    check(one_host || variable("MASTER_ADDR"), ErrorKind::kUsage,
          "mpirun on several hosts: name the first with -x MASTER_ADDR=<address>");
    if (variable("OMPI_COMM_WORLD_LOCAL_SIZE"))
      share_cores(sysconf(_SC_NPROCESSORS_ONLN),
                  number("OMPI_COMM_WORLD_LOCAL_SIZE", 1, launch.size));
    launch.host = variable("MASTER_ADDR").value_or(launch.host);
    launch.port = port_of(variable("PMIX_NAMESPACE").value_or("mpirun"));
    launch.prefix = "lexel/mpirun";
  } else if (variable("SLURM_PROCID") && variable("SLURM_STEP_NUM_TASKS")) {
    launch.launcher = "srun";
    read_place(launch, "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID");
    if (variable("SLURM_CPUS_ON_NODE") && variable("SLURM_STEP_NUM_NODES")) {
      const int64_t nodes = number("SLURM_STEP_NUM_NODES", 1, launch.size);
      share_cores(number("SLURM_CPUS_ON_NODE", 1, kMostCores), (launch.size + nodes - 1) / nodes);
    }
    const std::string job =
        variable("SLURM_JOB_ID").value_or("") + "." + variable("SLURM_STEP_ID").value_or("");
    // A step may run on some of its job's nodes; its rank 0 is on the first of them.
    const std::string nodes = variable("SLURM_STEP_NODELIST")
                                  .value_or(variable("SLURM_JOB_NODELIST").value_or("127.0.0.1"));
    launch.host = variable("MASTER_ADDR").value_or(first_host(nodes));
    launch.port = port_of(job);
    launch.prefix = "lexel/" + job;
  }
  return launch;
}

/// The address of this host on the way to another: what the others reach it by.
std::string own_address(const std::string& host) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_family = AF_INET;
  hints.ai_socktype = SOCK_DGRAM;
  std::string address = "127.0.0.1";
  if (getaddrinfo(host.c_str(), "9", &hints, &found) != 0) return address;
  // A datagram socket that is connected sends nothing, but has the address that it would send from.
  const int handle = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_in own{};
  socklen_t length = sizeof(own);
  if (handle >= 0 && connect(handle, found->ai_addr, found->ai_addrlen) == 0 &&
      getsockname(handle, reinterpret_cast<sockaddr*>(&own), &length) == 0) {
    char text[INET_ADDRSTRLEN] = "";
    if (inet_ntop(AF_INET, &own.sin_addr, text, sizeof(text)) != nullptr) address = text;
  }
  if (handle >= 0) close(handle);
  freeaddrinfo(found);
  return address;
}

}  // namespace

World world_from_environment(std::chrono::milliseconds timeout) {
  const Launch launch = read_environment();
  World world;
  world.rank = launch.rank;
  world.size = launch.size;
  world.local_rank = launch.local_rank;
  world.launcher = launch.launcher;
  world.timeout = timeout;
  world.transport = variable("LEXEL_TRANSPORT").value_or("gloo");
  check(world.transport == "gloo" || world.transport == "mpi", ErrorKind::kUsage,
        "the environment's LEXEL_TRANSPORT: expected gloo or mpi, got \"", world.transport, "\"");
  if (world.size == 1) return world;
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(launch.port);
  options.isServer = launch.rank == 0 && !launch.agent_holds_store;
  options.waitWorkers = false;
  options.timeout = std::min<std::chrono::milliseconds>(timeout, std::chrono::seconds(60));
  c10::intrusive_ptr<c10d::Store> store;
  try {
    store = c10::make_intrusive<c10d::PrefixStore>(
        launch.prefix, c10::make_intrusive<c10d::TCPStore>(launch.host, options));
  } catch (const std::exception& error) {
    fail(ErrorKind::kIo, "rank ", launch.rank, ": no meeting place at ", launch.host, ":",
         launch.port, options.isServer ? " (is the port taken? set MASTER_PORT)" : "");
  }
  world.interface = own_address(launch.host);
  world.meeting = std::make_shared<Meeting>(store, world.rank, world.size, options.isServer);
  exchange(world, "start", "");
  return world;
}

std::vector<World> worlds_of_threads(int64_t size, std::chrono::milliseconds timeout) {
  check_arg(size >= 1, "worlds_of_threads", "expected at least one rank, got ", size);
  // c10d's flight recorder (torch 2.11, FlightRecorderDetail.hpp, record) inserts each group into a map that all threads of a
  // process share without a lock: two groups whose first collectives meet break it. With room for no entry it stays off.
  setenv("TORCH_FR_BUFFER_SIZE", "0", /*overwrite=*/1);
  std::vector<World> worlds(static_cast<size_t>(size));
  const c10::intrusive_ptr<c10d::Store> store = c10::make_intrusive<c10d::HashStore>();
  for (int64_t rank = 0; rank < size; ++rank) {
    World& world = worlds[static_cast<size_t>(rank)];
    world.rank = world.local_rank = rank;
    world.size = size;
    world.launcher = "threads";
    world.timeout = timeout;
    if (size > 1) world.meeting = std::make_shared<Meeting>(store, rank, size, /*last_out=*/false);
  }
  return worlds;
}

std::vector<std::string> exchange(const World& world, const std::string& what,
                                  const std::string& text) {
  if (!world.meeting) return {text};
  return world.meeting->exchange(what, text, world.timeout);
}

void check_same_everywhere(const World& world, const std::string& what, const std::string& text) {
  const std::vector<std::string> texts = exchange(world, what, text);
  std::string differ;
  for (size_t rank = 1; rank < texts.size(); ++rank) {
    if (texts[rank] != texts[0])
      differ += concat(differ.empty() ? "rank " : ", rank ", rank, " has ", texts[rank]);
  }
  check(differ.empty(), ErrorKind::kUsage, "all ranks must have the same ", what, ": rank 0 has ",
        texts[0], ", ", differ);
}

void run_as_rank(const World& world, const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    if (world.meeting) world.meeting->tell_failure(error.kind(), error.what());
    throw;
  } catch (const std::exception& error) {
    if (world.meeting) world.meeting->tell_failure(ErrorKind::kInternal, error.what());
    throw;
  }
}

}  // namespace lexel::parallel
