#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace lexel {

/// What went wrong, in the words of the exit code of a program (0 is "done").
enum class ErrorKind : int {
  kInternal = 1,     // a bug in Lexel
  kUsage = 2,        // an argument or option that cannot be right
  kBadData = 3,      // a file whose content is wrong, truncated or hostile
  kIo = 4,           // the file system said no: missing, unreadable, full
  kUnsupported = 5,  // valid, and this build or machine cannot do it
};

/// The one exception that Lexel throws on purpose. The message is one line: lower case, no full stop,
/// naming the file or argument, with the value that was found.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }
  int exit_code() const { return static_cast<int>(kind_); }

 private:
  ErrorKind kind_;
};

/// The parts, streamed into one string: concat("got ", 3, " rows") == "got 3 rows".
template <class... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

template <class... Parts>
[[noreturn]] void fail(ErrorKind kind, const Parts&... parts) {
  throw Error(kind, concat(parts...));
}

/// Throws Error(kind) with the parts as its message unless `ok`.
template <class... Parts>
void check(bool ok, ErrorKind kind, const Parts&... parts) {
  if (!ok) fail(kind, parts...);
}

/// The check of a public function's arguments: Error(kUsage), "function: expected ..., got ...".
template <class... Parts>
void check_arg(bool ok, const char* function, const Parts&... parts) {
  if (!ok) fail(ErrorKind::kUsage, function, ": ", parts...);
}

}  // namespace lexel
