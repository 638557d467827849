#include "apps/guarded.h"

#include <exception>
#include <iostream>
#include <new>

#include "kernels/check.h"

namespace lexel::cli {
namespace {

/// Of LibTorch's exceptions, which differ in words alone for who does not know the library.
bool is_out_of_memory(const std::string& text) {
  return text.find("can't allocate memory") != std::string::npos ||
         text.find("out of memory") != std::string::npos;
}

/// One line, written at once: several ranks share a terminal.
void say(const std::string& name, const std::string& text) {
  std::cerr << name + ": " + text + "\n" << std::flush;
}

int out_of_memory(const std::string& name) {
  say(name, "not enough memory; less at once may fit (--batch, where there is one)");
  return static_cast<int>(ErrorKind::kUnsupported);
}

}  // namespace

int guarded(const std::string& name, const std::function<int()>& work) {
  try {
    return work();
  } catch (const Error& error) {
    say(name, error.what());
    return error.exit_code();
  } catch (const std::bad_alloc&) {
    return out_of_memory(name);
  } catch (const std::exception& error) {
    const std::string text = error.what();
    if (is_out_of_memory(text)) return out_of_memory(name);
    say(name, "internal error: " + text.substr(0, text.find('\n')));
  }
  return static_cast<int>(ErrorKind::kInternal);
}

}  // namespace lexel::cli
