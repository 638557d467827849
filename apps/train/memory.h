#pragma once

namespace lexel::train {

/// From now on the process keeps the memory that it frees: each step takes what the one before it had, and the system need
/// not clear pages for it again. Measured on a training step of parti-lexel-128, bfloat16, batch 16, one thread, with glibc: 0.84 s
/// of CPU time against 1.04 s. Does nothing where the allocator is neither jemalloc, which `lexel` is linked with where the build
/// found it (LEXEL_JEMALLOC), nor glibc's.
void keep_freed_memory();

}  // namespace lexel::train
