#pragma once

#include <exception>
#include <gtest/gtest.h>
#include <source_location>
#include <string>
#include <utility>

#include "kernels/check.h"

namespace lexel::tests {

/// Fails the test, at the caller's line, unless `run()` throws lexel::Error of this kind whose
/// message holds `substring` and is one line.
template <class Run>
void expect_error(ErrorKind kind, const std::string& substring, Run&& run,
                  std::source_location where = std::source_location::current()) {
  const auto failure = [&](const std::string& text) {
    ADD_FAILURE_AT(where.file_name(), static_cast<int>(where.line())) << text;
  };
  try {
    std::forward<Run>(run)();
  } catch (const Error& error) {
    const std::string message = error.what();
    if (error.kind() != kind) {
      failure(concat("expected kind ", static_cast<int>(kind), ", got ", error.exit_code(), ": ",
                     message));
    }
    if (message.find(substring) == std::string::npos) {
      failure(concat("expected a message with \"", substring, "\", got \"", message, "\""));
    }
    if (message.find('\n') != std::string::npos)
      failure("the message has several lines: " + message);
    return;
  } catch (const std::exception& error) {
    failure(concat("expected lexel::Error, got another exception: ", error.what()));
    return;
  }
  failure(concat("expected lexel::Error with \"", substring, "\", nothing was thrown"));
}

}  // namespace lexel::tests
