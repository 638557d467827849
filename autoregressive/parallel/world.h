#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace lexel::parallel {

class Meeting;

/// Who this process is among those that work on one model, and where they meet. Copies share the meeting place.
struct World {
  int64_t rank = 0;
  int64_t size = 1;
  int64_t local_rank = 0;  // on this host: which GPU
  std::string launcher;    // "torchrun", "mpirun", "srun", "lexel launch"; "" for one process alone
  std::string interface = "127.0.0.1";  // address that others reach this host by
  std::chrono::milliseconds timeout{
      600000};                       // of any collective: a rank that is later is taken for dead
  std::string transport = "gloo";    // of groups on CPUs: "gloo", or "mpi" where the build has it
  std::shared_ptr<Meeting> meeting;  // null in a world of one
};

/// The world that the environment tells of: RANK and WORLD_SIZE with MASTER_ADDR and MASTER_PORT (torchrun, lexel launch), those
/// of Open MPI's mpirun or of srun, in this order; none of them: one process alone. Connects to the others and waits for all. LEXEL_TRANSPORT
/// may be "mpi".
///
/// timeout  of every collective
/// throws   Error(kUsage) on values that cannot be, naming the variable; Error(kIo) naming the ranks that did not come
World world_from_environment(std::chrono::milliseconds timeout);

/// `size` worlds whose ranks are threads of this process.
/// throws   Error(kUsage) size < 1
std::vector<World> worlds_of_threads(int64_t size, std::chrono::milliseconds timeout);

/// Every rank tells what it is about to do (a checksum of configuration, data and program) and hears of the others.
///
/// text     what must be equal on all ranks, for the message
/// throws   Error(kUsage) on every rank, naming the ranks that differ from rank 0 and their text
void check_same_everywhere(const World& world, const std::string& what, const std::string& text);

/// The texts of all ranks, in their order. Called in the same order on all of them.
/// throws   Error(kIo) naming the ranks that did not come
std::vector<std::string> exchange(const World& world, const std::string& what,
                                  const std::string& text);

/// Runs `body`. What it throws is told to the other ranks, for their messages, before it goes on.
void run_as_rank(const World& world, const std::function<void()>& body);

}  // namespace lexel::parallel
