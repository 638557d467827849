#include "tests/cuda_emulator/fiber.h"

#include <cstdint>
#include <sys/mman.h>

#include "kernels/check.h"

#if !defined(__x86_64__)
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// Saves the callee's registers on the stack, keeps that stack's pointer in *save and goes on with another one.
// swapcontext does it too, with two system calls each time: forty times slower.
#if defined(__x86_64__)
extern "C" void lexel_switch_stacks(void** save, void* load);
asm(R"(
.text
.type lexel_switch_stacks, @function
lexel_switch_stacks:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size lexel_switch_stacks, . - lexel_switch_stacks
)");
#endif

namespace lexel::cuda_emulator {

#if defined(__x86_64__)

struct Fiber::Context {
  void* inside = nullptr;
  void* outside = nullptr;
};

#else

struct Fiber::Context {
  ucontext_t inside{};
  ucontext_t outside{};
};

#endif

Fiber::Fiber()
    : memory_(static_cast<unsigned char*>(
          mmap(nullptr, kGuardBytes + kStackBytes, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))),
      context_(new Context) {
  check(memory_ != MAP_FAILED && mprotect(memory_, kGuardBytes, PROT_NONE) == 0,
        ErrorKind::kInternal, "CUDA emulator: no memory for stacks");
}

Fiber::~Fiber() {
  munmap(memory_, kGuardBytes + kStackBytes);
  delete context_;
}

void Fiber::start(void (*entry)()) {
  unsigned char* const stack = memory_ + kGuardBytes;
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(stack, kStackBytes);
  fake_stack_inside_ = nullptr;
#endif
#if defined(__x86_64__)
  // What lexel_switch_stacks pops: six registers, then where to return to; above it the caller that entry() lacks.
  constexpr int kRegisters = 6;
  auto** const top = reinterpret_cast<void**>(stack + kStackBytes) - 2;
  top[0] = reinterpret_cast<void*>(entry);
  top[1] = nullptr;
  for (int i = 1; i <= kRegisters; ++i) top[-i] = nullptr;
  context_->inside = top - kRegisters;
#else
  getcontext(&context_->inside);
  context_->inside.uc_stack.ss_sp = stack;
  context_->inside.uc_stack.ss_size = kStackBytes;
  context_->inside.uc_link = nullptr;
  makecontext(&context_->inside, entry, 0);
#endif
}

void Fiber::switch_contexts(bool into) {
#if defined(__x86_64__)
  if (into) {
    lexel_switch_stacks(&context_->outside, context_->inside);
  } else {
    lexel_switch_stacks(&context_->inside, context_->outside);
  }
#else
  if (into) {
    swapcontext(&context_->outside, &context_->inside);
  } else {
    swapcontext(&context_->inside, &context_->outside);
  }
#endif
}

void Fiber::entered() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &outside_bottom_, &outside_bytes_);
#endif
}

void Fiber::run() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&fake_stack_outside_, memory_ + kGuardBytes, kStackBytes);
  switch_contexts(true);
  __sanitizer_finish_switch_fiber(fake_stack_outside_, nullptr, nullptr);
#else
  switch_contexts(true);
#endif
}

void Fiber::leave() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&fake_stack_inside_, outside_bottom_, outside_bytes_);
  switch_contexts(false);
  __sanitizer_finish_switch_fiber(fake_stack_inside_, &outside_bottom_, &outside_bytes_);
#else
  switch_contexts(false);
#endif
}

}  // namespace lexel::cuda_emulator
