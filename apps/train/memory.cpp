#include "apps/train/memory.h"

#include <climits>
#include <cstdlib>
#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace lexel::train {

void keep_freed_memory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_MAX, 0);                // large blocks from the heap too,
  mallopt(M_TRIM_THRESHOLD, INT_MAX);    // which never shrinks
  mallopt(M_TOP_PAD, 64 * 1024 * 1024);  // and grows by large pieces
#endif
}

}  // namespace lexel::train
