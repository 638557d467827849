#include <dlfcn.h>

#include "apps/programs.h"
#include "kernels/check.h"

namespace lexel::cli {

const Programs& load_programs() {
  void* library = dlopen("liblexel_programs.so", RTLD_NOW | RTLD_GLOBAL);
  check(library != nullptr, ErrorKind::kInternal, "the installation is broken: ", dlerror());
  auto* table = reinterpret_cast<const Programs* (*)()>(dlsym(library, kProgramsSymbol));
  check(table != nullptr, ErrorKind::kInternal,
        "the installation is broken: liblexel_programs.so is of another version");
  return *table();
}

}  // namespace lexel::cli
