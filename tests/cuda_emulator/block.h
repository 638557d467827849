#pragma once

// One block of a CUDA kernel on one CPU thread: every CUDA thread is a fiber, which runs until it has to wait for others
// (a barrier, a shuffle, a copy). Who goes on next is drawn at random from a seed, so that code which relies on an
// order that CUDA does not promise gives other results for some seeds.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <source_location>
#include <string>

namespace lexel::cuda_emulator {

constexpr int kWarp = 32;
constexpr int kWarpgroup = 128;

/// What the emulated device is; a test may change it between launches.
struct Settings {
  uint64_t seed = 1;
  int capability = 80;      // 90 makes the launches choose what needs sm_90a
  int multiprocessors = 4;  // few, so that small shapes make more than one wave
};
Settings& settings();

struct Index3 {
  unsigned x = 0, y = 0, z = 0;
};

struct Grid {
  Index3 blocks, threads;  // gridDim, blockDim
  std::size_t shared_bytes = 0;
};

/// Runs all blocks, one after another in an order of the seed; `thread` is one thread's whole work.
///
/// returns  an empty text, or what went wrong: a deadlock, a barrier that threads met at different lines, a misused copy
std::string run_grid(const Grid& grid, const std::function<void()>& thread);

// --- for a thread of a running kernel --------------------------------------------------------------------------------

using Site = std::source_location;

extern Index3 thread_index, block_index, block_size, grid_size;

int thread_number();  // within the block, x fastest

/// Ends the launch with this error.
[[noreturn]] void fail_kernel(const std::string& why);

/// The block's dynamic shared memory: kSharedAlignment-aligned, NaNs at first.
constexpr std::size_t kSharedAlignment = 1024;
void* dynamic_shared_memory();

/// __syncthreads, and its forms that count or combine: returns how many of the threads came with `predicate`.
int meet_block(bool predicate, const char* what, Site site);

/// bar.sync / bar.arrive of barrier `id` for `count` threads, a multiple of 32; with `wait` false the thread goes on.
void meet_named(int id, int count, bool wait, Site site);

/// All lanes of the mask hand in a payload (of any type); the last to come calls combine(payloads), where payloads[lane] is
/// null for lanes outside the mask; then all go on. One kind (`what`) and one line of code for all.
using Combine = void (*)(void* const* payloads);
void meet_warp(unsigned mask, void* payload, Combine combine, const char* what, Site site);

/// The same for the 128 threads of a warpgroup.
void meet_warpgroup(void* payload, Combine combine, const char* what, Site site);

/// Waits until done(object) holds.
void wait_until(bool (*done)(const void*), const void* object, const char* what, Site site);

/// Lets others run; for loops that wait.
void let_others_run();

// --- work that is under way beside the threads -----------------------------------------------------------------------

/// Work of the copy engine: done at some later time, at the latest when every thread waits.
void start_late(std::function<void()> work);

/// Copies of the calling thread, in groups as cp.async has them: done when wait_for_groups leaves them no choice.
void start_in_group(std::function<void()> work);
void close_group();
void wait_for_groups(int may_stay_open);

/// Does the copies of the calling thread, then the work, at some later time; they leave the groups.
void finish_groups_late(std::function<void()> work);

/// The same for a warpgroup's matrix products. Called by the thread that holds the payloads of a meet_warpgroup; waiting
/// is each thread's own.
void start_in_warpgroup(std::function<void()> work);
void close_warpgroup_group();
void wait_for_warpgroup(int may_stay_open);

}  // namespace lexel::cuda_emulator
