#include "apps/guarded.h"

#include <exception>
#include <iostream>
#include <new>

#include "kernels/check.h"

namespace lexel::cli {

int guarded(const std::string& name, const std::function<int()>& work) {
  try {
    return work();
  } catch (const Error& error) {
    std::cerr << name << ": " << error.what() << "\n";
    return error.exit_code();
  } catch (const std::bad_alloc&) {
    std::cerr << name << ": not enough memory; a smaller --batch may help\n";
  } catch (const std::exception& error) {
    const std::string text = error.what();
    std::cerr << name << ": internal error: " << text.substr(0, text.find('\n')) << "\n";
  }
  return static_cast<int>(ErrorKind::kInternal);
}

}  // namespace lexel::cli
