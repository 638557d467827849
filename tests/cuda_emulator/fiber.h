#pragma once

#include <cstddef>

namespace lexel::cuda_emulator {

/// A function with a stack of its own that runs until it hands control back, and later goes on from there.
class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// Makes the next run() start entry(), which calls entered() first and never returns. What ran here before is
  /// forgotten, not unwound.
  void start(void (*entry)());

  void entered();

  /// Runs until leave(). Not from within a fiber.
  void run();

  /// Back to the caller of run(); called on this fiber.
  void leave();

 private:
  static constexpr std::size_t kStackBytes = 256 * 1024;
  static constexpr std::size_t kGuardBytes = 4096;  // below the stack: an overflow faults

  void switch_contexts(bool into);

  unsigned char* memory_;
  struct Context;
  Context* context_;
  // AddressSanitizer's view of the two stacks.
  void* fake_stack_inside_ = nullptr;
  void* fake_stack_outside_ = nullptr;
  const void* outside_bottom_ = nullptr;
  std::size_t outside_bytes_ = 0;
};

}  // namespace lexel::cuda_emulator
