#pragma once

// Barriers, warp collectives and atomics: what CUDA threads do together. An additional last argument, never given, names the
// line of the call: threads that should meet must meet at one line.

#include <bit>
#include <concepts>
#include <cstdint>

#include "kernels/check.h"
#include "tests/cuda_emulator/block.h"

namespace lexel::cuda_emulator {

template <class T>
struct Shuffle {
  T value, result;
  int source;  // lane
};

/// Every lane gets the value of its source lane.
template <class T>
T shuffle(unsigned mask, T value, int source, const char* what, Site site) {
  Shuffle<T> mine{value, value, source};
  const auto combine = [](void* const* lanes) {
    for (int lane = 0; lane < kWarp; ++lane) {
      auto* const to = static_cast<Shuffle<T>*>(lanes[lane]);
      if (to == nullptr) continue;
      const auto* const from = static_cast<const Shuffle<T>*>(lanes[to->source]);
      if (from == nullptr) fail_kernel("a lane reads from a lane outside the shuffle's mask");
      to->result = from->value;
    }
  };
  meet_warp(mask, &mine, combine, what, site);
  return mine.result;
}

inline int my_lane() { return thread_number() % kWarp; }

/// All lanes get the value that fold() makes of theirs, in lane order.
template <class T, class Fold>
T reduce(unsigned mask, T value, const char* what, Site site, Fold) {
  T mine = value;
  const auto combine = [](void* const* lanes) {
    T all{};
    bool first = true;
    for (int lane = 0; lane < kWarp; ++lane) {
      const auto* const from = static_cast<const T*>(lanes[lane]);
      if (from == nullptr) continue;
      all = first ? *from : Fold{}(all, *from);
      first = false;
    }
    for (int lane = 0; lane < kWarp; ++lane) {
      if (lanes[lane] != nullptr) *static_cast<T*>(lanes[lane]) = all;
    }
  };
  meet_warp(mask, &mine, combine, what, site);
  return mine;
}

struct Vote {
  bool predicate;
  unsigned ballot;
};

inline unsigned vote(unsigned mask, bool predicate, const char* what, Site site) {
  Vote mine{predicate, 0};
  const auto combine = [](void* const* lanes) {
    unsigned ballot = 0;
    for (int lane = 0; lane < kWarp; ++lane) {
      const auto* const from = static_cast<const Vote*>(lanes[lane]);
      if (from != nullptr && from->predicate) ballot |= 1U << lane;
    }
    for (int lane = 0; lane < kWarp; ++lane) {
      if (lanes[lane] != nullptr) static_cast<Vote*>(lanes[lane])->ballot = ballot;
    }
  };
  meet_warp(mask, &mine, combine, what, site);
  return mine.ballot;
}

}  // namespace lexel::cuda_emulator

// --- barriers --------------------------------------------------------------------------------------------------------
inline void __syncthreads(lexel::cuda_emulator::Site site = lexel::cuda_emulator::Site::current()) {
  lexel::cuda_emulator::meet_block(false, "__syncthreads", site);
}
inline int __syncthreads_count(
    int predicate, lexel::cuda_emulator::Site site = lexel::cuda_emulator::Site::current()) {
  return lexel::cuda_emulator::meet_block(predicate != 0, "__syncthreads_count", site);
}
inline int __syncthreads_or(
    int predicate, lexel::cuda_emulator::Site site = lexel::cuda_emulator::Site::current()) {
  return lexel::cuda_emulator::meet_block(predicate != 0, "__syncthreads_or", site) != 0 ? 1 : 0;
}
inline int __syncthreads_and(
    int predicate, lexel::cuda_emulator::Site site = lexel::cuda_emulator::Site::current()) {
  return lexel::cuda_emulator::meet_block(predicate == 0, "__syncthreads_and", site) == 0 ? 1 : 0;
}
inline void __syncwarp(unsigned mask = 0xFFFFFFFFU,
                       lexel::cuda_emulator::Site site = lexel::cuda_emulator::Site::current()) {
  char nothing = 0;
  lexel::cuda_emulator::meet_warp(
      mask, &nothing, [](void* const*) {}, "__syncwarp", site);
}
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __nanosleep(unsigned) { lexel::cuda_emulator::let_others_run(); }

// --- shuffles: source lanes within segments of `width` -----------------------------------------------------------------
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32,
              lexel::cuda_emulator::Site site = lexel::cuda_emulator::Site::current()) {
  const int first = lexel::cuda_emulator::my_lane() & ~(width - 1);
  return lexel::cuda_emulator::shuffle(mask, value, first + (source & (width - 1)), "__shfl_sync",
                                       site);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32,
                  lexel::cuda_emulator::Site site = lexel::cuda_emulator::Site::current()) {
  const int lane = lexel::cuda_emulator::my_lane();
  const int source = lane ^ lane_mask;
  const bool within = source <= (lane | (width - 1));
  return lexel::cuda_emulator::shuffle(mask, value, within ? source : lane, "__shfl_xor_sync",
                                       site);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                 lexel::cuda_emulator::Site site = lexel::cuda_emulator::Site::current()) {
  const int lane = lexel::cuda_emulator::my_lane();
  const int source = lane - static_cast<int>(delta);
  const bool within = source >= (lane & ~(width - 1));
  return lexel::cuda_emulator::shuffle(mask, value, within ? source : lane, "__shfl_up_sync", site);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                   lexel::cuda_emulator::Site site = lexel::cuda_emulator::Site::current()) {
  const int lane = lexel::cuda_emulator::my_lane();
  const int source = lane + static_cast<int>(delta);
  const bool within = source <= (lane | (width - 1));
  return lexel::cuda_emulator::shuffle(mask, value, within ? source : lane, "__shfl_down_sync",
                                       site);
}

// --- votes and reductions of integers ----------------------------------------------------------------------------------
inline unsigned __ballot_sync(
    unsigned mask, int predicate,
    lexel::cuda_emulator::Site site = lexel::cuda_emulator::Site::current()) {
  return lexel::cuda_emulator::vote(mask, predicate != 0, "__ballot_sync", site);
}
inline int __any_sync(unsigned mask, int predicate,
                      lexel::cuda_emulator::Site site = lexel::cuda_emulator::Site::current()) {
  return lexel::cuda_emulator::vote(mask, predicate != 0, "__any_sync", site) != 0 ? 1 : 0;
}
inline int __all_sync(unsigned mask, int predicate,
                      lexel::cuda_emulator::Site site = lexel::cuda_emulator::Site::current()) {
  return lexel::cuda_emulator::vote(mask, predicate == 0, "__all_sync", site) == 0 ? 1 : 0;
}
template <class T>
requires std::same_as<T, int> || std::same_as<T, unsigned> T
__reduce_add_sync(unsigned mask, T value,
                  lexel::cuda_emulator::Site site = lexel::cuda_emulator::Site::current()) {
  return lexel::cuda_emulator::reduce(mask, value, "__reduce_add_sync", site, [](T a, T b) {
    return static_cast<T>(static_cast<unsigned>(a) + static_cast<unsigned>(b));
  });
}
template <class T>
requires std::same_as<T, int> || std::same_as<T, unsigned> T
__reduce_min_sync(unsigned mask, T value,
                  lexel::cuda_emulator::Site site = lexel::cuda_emulator::Site::current()) {
  return lexel::cuda_emulator::reduce(mask, value, "__reduce_min_sync", site,
                                      [](T a, T b) { return a < b ? a : b; });
}
template <class T>
requires std::same_as<T, int> || std::same_as<T, unsigned> T
__reduce_max_sync(unsigned mask, T value,
                  lexel::cuda_emulator::Site site = lexel::cuda_emulator::Site::current()) {
  return lexel::cuda_emulator::reduce(mask, value, "__reduce_max_sync", site,
                                      [](T a, T b) { return a > b ? a : b; });
}
inline unsigned __reduce_or_sync(
    unsigned mask, unsigned value,
    lexel::cuda_emulator::Site site = lexel::cuda_emulator::Site::current()) {
  return lexel::cuda_emulator::reduce(mask, value, "__reduce_or_sync", site,
                                      [](unsigned a, unsigned b) { return a | b; });
}
inline unsigned __reduce_and_sync(
    unsigned mask, unsigned value,
    lexel::cuda_emulator::Site site = lexel::cuda_emulator::Site::current()) {
  return lexel::cuda_emulator::reduce(mask, value, "__reduce_and_sync", site,
                                      [](unsigned a, unsigned b) { return a & b; });
}

// --- atomics: plain, since one thread of the CPU runs all ----------------------------------------------------------------
template <class T>
T atomicAdd(T* p, std::type_identity_t<T> value) {
  const T old = *p;
  *p = static_cast<T>(old + value);
  return old;
}
template <class T>
T atomicMax(T* p, std::type_identity_t<T> value) {
  const T old = *p;
  if (value > old) *p = value;
  return old;
}
template <class T>
T atomicMin(T* p, std::type_identity_t<T> value) {
  const T old = *p;
  if (value < old) *p = value;
  return old;
}
template <class T>
T atomicOr(T* p, std::type_identity_t<T> value) {
  const T old = *p;
  *p = old | value;
  return old;
}
template <class T>
T atomicExch(T* p, std::type_identity_t<T> value) {
  const T old = *p;
  *p = value;
  return old;
}
template <class T>
T atomicCAS(T* p, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  const T old = *p;
  if (old == expected) *p = value;
  return old;
}
inline unsigned atomicInc(unsigned* p, unsigned limit) {
  const unsigned old = *p;
  *p = old >= limit ? 0 : old + 1;
  return old;
}
