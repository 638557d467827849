#pragma once

// Private to autoregressive.

#include <cstdint>
#include <string>
#include <vector>

namespace lexel::ar {

/// A server's answer, whatever its status.
struct HttpReply {
  int64_t status = 0;  // 200 ...
  std::string body;
};

struct HttpOptions {
  double connect_timeout_s = 5.0;
  double timeout_s = 120.0;  // of a whole exchange
  int64_t attempts = 3;  // in all: after no connection, a time-out, or the status 429 or 500 to 504
  double pause_s = 0.5;  // before the second attempt; doubled before each further one
  int64_t max_bytes = 64 << 20;  // of an answer
};

/// Sends a body of JSON and waits for the answer. Redirections are not followed.
///
/// headers  more lines, "Name: value"
/// throws   Error(kUsage) a URL that is not http or https; Error(kIo) naming the URL and what happened last: no connection,
///          no answer in time, one that breaks off; Error(kBadData) an answer past max_bytes
HttpReply post_json(const std::string& url, const std::string& body,
                    const std::vector<std::string>& headers, const HttpOptions& options);

}  // namespace lexel::ar
