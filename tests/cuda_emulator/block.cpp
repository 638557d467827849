#include "tests/cuda_emulator/block.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <link.h>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <thread>
#include <utility>
#include <vector>

#include "kernels/check.h"
#include "tests/cuda_emulator/fiber.h"

namespace lexel::cuda_emulator {

Index3 thread_index, block_index, block_size, grid_size;

Settings& settings() {
  static Settings values;
  return values;
}

namespace {

constexpr int kNamedBarriers = 16;
constexpr unsigned char kPoison = 0xFF;  // NaN as float, bf16 and double; -1 as an integer
constexpr std::size_t kMaxSharedBytes = 227 * 1024;
constexpr std::size_t kCanaryBytes = 1024;  // behind the dynamic shared memory
constexpr uint64_t kLateChance = 64;        // one step in so many finishes a late copy

struct Late {
  int64_t group;
  std::function<void()> work;
};

struct Thread {
  Fiber fiber;
  Index3 index;
  bool exited = false;
  const char* waits_for = nullptr;  // null: may run
  Site site;
  bool (*done)(const void*) = nullptr;  // of wait_until
  const void* object = nullptr;
  int64_t closed_groups = 0;
  std::deque<Late> copies;
  int64_t closed_warpgroup_groups = 0;
};

/// Threads that wait for each other.
struct Meeting {
  const char* what = nullptr;
  Site site;
  unsigned mask = 0;
  int came = 0;
  int predicates = 0;
  std::vector<int> waiting;
  std::array<void*, kWarpgroup> payloads{};
};

struct Block {
  const std::function<void()>* work = nullptr;
  std::vector<std::unique_ptr<Thread>> threads;  // kept from launch to launch for their stacks
  int size = 0;
  int exited = 0;
  int current = -1;
  std::vector<int> ready;
  std::vector<int> polling;  // in wait_until
  Meeting all;               // __syncthreads
  int last_predicates = 0;
  std::array<Meeting, kNamedBarriers> named;
  std::vector<std::vector<Meeting>> warps;
  std::vector<Meeting> warpgroups;
  std::vector<std::deque<Late>> products;  // of each warpgroup
  std::vector<std::function<void()>> late;
  unsigned char* shared = nullptr;
  std::size_t shared_bytes = 0;
  std::string error;
  uint64_t random = 0;

  Thread& me() { return *threads[static_cast<std::size_t>(current)]; }

  uint64_t draw(uint64_t limit) {  // xorshift64*
    random ^= random >> 12;
    random ^= random << 25;
    random ^= random >> 27;
    return (random * 0x2545F4914F6CDD1D >> 33) % limit;
  }
};

Block block;

bool same_line(const Site& a, const Site& b) {
  return a.line() == b.line() && std::strcmp(a.file_name(), b.file_name()) == 0;
}

std::string place(const char* what, const Site& site) {
  const char* const slash = std::strrchr(site.file_name(), '/');
  return concat(what, " at ", slash == nullptr ? site.file_name() : slash + 1, ":", site.line());
}

void make_ready(int thread) {
  block.threads[static_cast<std::size_t>(thread)]->waits_for = nullptr;
  block.ready.push_back(thread);
}

/// Puts the calling thread to sleep; make_ready() wakes it.
void sleep(const char* what, const Site& site) {
  Thread& thread = block.me();
  thread.waits_for = what;
  thread.site = site;
  thread.fiber.leave();
}

void wake(Meeting& meeting) {
  for (const int thread : meeting.waiting) make_ready(thread);
  meeting = {};
}

/// Threads that have exited count as arrived: CUDA's rule for __syncthreads.
void open_block_barrier_if_full() {
  if (block.all.came == 0 || block.all.came + block.exited < block.size) return;
  block.last_predicates = block.all.predicates;
  wake(block.all);
}

struct Failed {};  // thrown by fail_kernel, so that what the thread holds is destroyed

void thread_main() {
  block.me().fiber.entered();
  try {
    (*block.work)();
  } catch (const Failed&) {
  }
  Thread& thread = block.me();
  if (!block.error.empty()) thread.fiber.leave();  // and is not run again
  thread.exited = true;
  ++block.exited;
  open_block_barrier_if_full();
  thread.fiber.leave();
}

std::string describe_deadlock() {
  std::map<std::string, int> groups;
  for (int i = 0; i < block.size; ++i) {
    const Thread& thread = *block.threads[static_cast<std::size_t>(i)];
    ++groups[thread.exited ? "have exited" : "wait for " + place(thread.waits_for, thread.site)];
  }
  std::string text =
      concat("deadlock in block (", block_index.x, ", ", block_index.y, ", ", block_index.z, "): ");
  const char* separator = "";
  for (const auto& [state, count] : groups) {
    text += concat(separator, count, " threads ", state);
    separator = "; ";
  }
  return text;
}

/// One copy of the copy engine, any of those under way.
void finish_one_late() {
  const auto chosen = static_cast<std::ptrdiff_t>(block.draw(block.late.size()));
  const std::function<void()> work = std::move(block.late[static_cast<std::size_t>(chosen)]);
  block.late.erase(block.late.begin() + chosen);
  work();
}

void wake_pollers() {
  for (std::size_t i = 0; i < block.polling.size();) {
    const Thread& thread = *block.threads[static_cast<std::size_t>(block.polling[i])];
    if (thread.done(thread.object)) {
      make_ready(block.polling[i]);
      block.polling[i] = block.polling.back();
      block.polling.pop_back();
    } else {
      ++i;
    }
  }
}

/// Fills the program's thread-local variables, of the calling thread, with NaNs: all __shared__ variables are among them, and
/// nobody needs the others on a thread that runs kernels only.
void poison_static_shared_memory() {
  const auto first_module = [](dl_phdr_info* info, size_t, void*) {
    for (int i = 0; i < info->dlpi_phnum && info->dlpi_tls_data != nullptr; ++i) {
      if (info->dlpi_phdr[i].p_type == PT_TLS) {
        std::memset(info->dlpi_tls_data, kPoison, info->dlpi_phdr[i].p_memsz);
      }
    }
    return 1;  // only the program itself, which comes first
  };
  dl_iterate_phdr(first_module, nullptr);
}

/// Runs the block whose index is set until its threads have exited or block.error is set.
void run_block() {
  const Index3& size = block_size;
  block.exited = 0;
  block.ready.clear();
  block.polling.clear();
  block.all = {};
  block.named = {};
  block.warps.assign(static_cast<std::size_t>((block.size + kWarp - 1) / kWarp), {});
  const auto num_warpgroups = static_cast<std::size_t>((block.size + kWarpgroup - 1) / kWarpgroup);
  block.warpgroups.assign(num_warpgroups, {});
  block.products.assign(num_warpgroups, {});
  block.late.clear();
  for (int i = 0; i < block.size; ++i) {
    Thread& thread = *block.threads[static_cast<std::size_t>(i)];
    const auto n = static_cast<unsigned>(i);
    thread.index = {n % size.x, n / size.x % size.y, n / size.x / size.y};
    thread.exited = false;
    thread.waits_for = nullptr;
    thread.closed_groups = 0;
    thread.copies.clear();
    thread.closed_warpgroup_groups = 0;
    thread.fiber.start(thread_main);
    block.ready.push_back(i);
  }
  poison_static_shared_memory();
  std::fill_n(block.shared, block.shared_bytes + kCanaryBytes, kPoison);

  while (block.exited < block.size) {
    if (block.ready.empty() || (!block.late.empty() && block.draw(kLateChance) == 0)) {
      if (block.late.empty()) {
        block.error = describe_deadlock();
        return;
      }
      finish_one_late();
      wake_pollers();
      continue;
    }
    std::swap(block.ready[block.draw(block.ready.size())], block.ready.back());
    block.current = block.ready.back();
    block.ready.pop_back();
    thread_index = block.me().index;
    block.me().fiber.run();
    block.current = -1;
    if (!block.error.empty()) return;
    wake_pollers();
  }
  if (!block.late.empty()) {
    block.error = concat("a block ended with ", block.late.size(), " bulk copies under way");
  }
  const unsigned char* const canary = block.shared + block.shared_bytes;
  if (std::any_of(canary, canary + kCanaryBytes, [](unsigned char c) { return c != kPoison; })) {
    block.error =
        concat("a block wrote past its ", block.shared_bytes, " bytes of dynamic shared memory");
  }
}

void enter_meeting(Meeting& meeting, const char* what, const Site& site) {
  if (meeting.came == 0) {
    meeting.what = what;
    meeting.site = site;
  } else if (std::strcmp(meeting.what, what) != 0 || !same_line(meeting.site, site)) {
    fail_kernel(concat("threads that should meet are at ", place(meeting.what, meeting.site),
                       " and ", place(what, site)));
  }
  ++meeting.came;
}

/// Does the work that `thread` must see done when so many of its groups may stay open.
void finish_groups(std::deque<Late>& works, int64_t closed, int may_stay_open) {
  while (!works.empty() && works.front().group < closed - may_stay_open) {
    works.front().work();
    works.pop_front();
  }
}

}  // namespace

std::string run_grid(const Grid& grid, const std::function<void()>& thread) {
  static std::mutex one_at_a_time;
  const std::lock_guard lock(one_at_a_time);
  const uint64_t num_threads = uint64_t{grid.threads.x} * grid.threads.y * grid.threads.z;
  const uint64_t num_blocks = uint64_t{grid.blocks.x} * grid.blocks.y * grid.blocks.z;
  if (num_threads == 0 || num_threads > 1024 || num_blocks == 0 || grid.blocks.y > 65535 ||
      grid.blocks.z > 65535 || grid.blocks.x > 0x7FFFFFFF) {
    return concat("no such grid: ", num_blocks, " blocks of ", num_threads, " threads");
  }
  if (grid.shared_bytes > kMaxSharedBytes) {
    return concat(grid.shared_bytes, " bytes of shared memory, a block has ", kMaxSharedBytes);
  }
  block.work = &thread;
  block.size = static_cast<int>(num_threads);
  block.error.clear();
  block.random = settings().seed * 0x9E3779B97F4A7C15 | 1;
  while (block.threads.size() < num_threads) block.threads.push_back(std::make_unique<Thread>());
  std::vector<unsigned char> memory(grid.shared_bytes + kCanaryBytes + kSharedAlignment);
  void* aligned = memory.data();
  std::size_t room = memory.size();
  block.shared = static_cast<unsigned char*>(
      std::align(kSharedAlignment, grid.shared_bytes + kCanaryBytes, aligned, room));
  block.shared_bytes = grid.shared_bytes;
  grid_size = grid.blocks;
  block_size = grid.threads;

  std::vector<uint64_t> order(num_blocks);
  std::iota(order.begin(), order.end(), uint64_t{0});
  for (uint64_t i = num_blocks; i > 1; --i) std::swap(order[i - 1], order[block.draw(i)]);
  std::thread([&] {
    for (const uint64_t n : order) {
      block_index = {static_cast<unsigned>(n % grid.blocks.x),
                     static_cast<unsigned>(n / grid.blocks.x % grid.blocks.y),
                     static_cast<unsigned>(n / grid.blocks.x / grid.blocks.y)};
      run_block();
      if (!block.error.empty()) break;
    }
  }).join();
  block.late.clear();
  block.products.clear();
  for (auto& each : block.threads) each->copies.clear();
  return block.error;
}

int thread_number() { return block.current; }

void fail_kernel(const std::string& why) {
  block.error = why;
  throw Failed{};
}

void* dynamic_shared_memory() { return block.shared; }

int meet_block(bool predicate, const char* what, Site site) {
  enter_meeting(block.all, what, site);
  block.all.predicates += predicate ? 1 : 0;
  block.all.waiting.push_back(block.current);
  open_block_barrier_if_full();
  sleep(what, site);
  return block.last_predicates;  // nobody can reach the next barrier before all have left this one
}

void meet_named(int id, int count, bool wait, Site site) {
  if (id < 0 || id >= kNamedBarriers || count <= 0 || count % kWarp != 0 || count > block.size) {
    fail_kernel(concat("no such barrier: id ", id, " for ", count, " threads"));
  }
  Meeting& meeting = block.named[static_cast<std::size_t>(id)];
  if (meeting.came > 0 && meeting.predicates != count) {
    fail_kernel(concat("barrier ", id, " awaits ", meeting.predicates, " threads, and ",
                       place("one", site), " says ", count));
  }
  meeting.predicates = count;
  ++meeting.came;
  if (wait) meeting.waiting.push_back(block.current);
  if (meeting.came == count) wake(meeting);
  if (wait) sleep("bar.sync", site);
}

void meet_warp(unsigned mask, void* payload, Combine combine, const char* what, Site site) {
  const auto lane = static_cast<unsigned>(block.current % kWarp);
  if ((mask >> lane & 1U) == 0) {
    fail_kernel(concat(place(what, site), ": lane ", lane, " is not in the mask"));
  }
  auto& meetings = block.warps[static_cast<std::size_t>(block.current / kWarp)];
  auto found = std::find_if(meetings.begin(), meetings.end(), [&](const Meeting& each) {
    return each.mask == mask && each.payloads[lane] == nullptr;
  });
  if (found == meetings.end()) {
    meetings.emplace_back();
    found = meetings.end() - 1;
    found->mask = mask;
  }
  enter_meeting(*found, what, site);
  found->payloads[lane] = payload;
  if (found->came == __builtin_popcount(mask)) {
    combine(found->payloads.data());
    for (const int thread : found->waiting) make_ready(thread);
    meetings.erase(found);
    return;
  }
  found->waiting.push_back(block.current);
  sleep(what, site);
}

void meet_warpgroup(void* payload, Combine combine, const char* what, Site site) {
  if (block.size % kWarpgroup != 0) {
    fail_kernel(concat(place(what, site), ": the block is not made of warpgroups"));
  }
  Meeting& meeting = block.warpgroups[static_cast<std::size_t>(block.current / kWarpgroup)];
  enter_meeting(meeting, what, site);
  meeting.payloads[static_cast<std::size_t>(block.current % kWarpgroup)] = payload;
  if (meeting.came == kWarpgroup) {
    combine(meeting.payloads.data());
    wake(meeting);
    return;
  }
  meeting.waiting.push_back(block.current);
  sleep(what, site);
}

void wait_until(bool (*done)(const void*), const void* object, const char* what, Site site) {
  Thread& thread = block.me();
  thread.done = done;
  thread.object = object;
  if (done(object)) return;
  block.polling.push_back(block.current);
  sleep(what, site);
}

void let_others_run() {
  block.ready.push_back(block.current);
  block.me().fiber.leave();
}

void start_late(std::function<void()> work) { block.late.push_back(std::move(work)); }

void start_in_group(std::function<void()> work) {
  block.me().copies.push_back({block.me().closed_groups, std::move(work)});
}

void close_group() { ++block.me().closed_groups; }

void wait_for_groups(int may_stay_open) {
  finish_groups(block.me().copies, block.me().closed_groups, may_stay_open);
}

void finish_groups_late(std::function<void()> work) {
  start_late([copies = std::exchange(block.me().copies, {}), then = std::move(work)] {
    for (const Late& copy : copies) copy.work();
    then();
  });
}

void start_in_warpgroup(std::function<void()> work) {
  block.products[static_cast<std::size_t>(block.current / kWarpgroup)].push_back(
      {block.me().closed_warpgroup_groups, std::move(work)});
}

void close_warpgroup_group() { ++block.me().closed_warpgroup_groups; }

void wait_for_warpgroup(int may_stay_open) {
  finish_groups(block.products[static_cast<std::size_t>(block.current / kWarpgroup)],
                block.me().closed_warpgroup_groups, may_stay_open);
}

}  // namespace lexel::cuda_emulator
