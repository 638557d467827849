#include "autoregressive/http_client.h"

#include <chrono>
#include <curl/curl.h>
#include <memory>
#include <thread>

#include "kernels/check.h"

namespace lexel::ar {
namespace {

struct Body {
  std::string text;
  size_t most = 0;  // bytes
  bool is_too_long = false;
};

size_t receive(char* data, size_t, size_t size, void* to) {
  Body& body = *static_cast<Body*>(to);
  body.is_too_long = body.text.size() + size > body.most;
  if (body.is_too_long) return 0;  // ends the exchange
  body.text.append(data, size);
  return size;
}

// libcurl wants this once before the first use, by one thread.
void initialise_curl() {
  static const CURLcode code = curl_global_init(CURL_GLOBAL_DEFAULT);
  check(code == CURLE_OK, ErrorKind::kInternal,
        "libcurl does not start: ", curl_easy_strerror(code));
}

long milliseconds(double seconds) { return static_cast<long>(seconds * 1000.0); }

// A proxy of the environment has nothing to do with these.
bool is_this_machine(const std::string& url) {
  return url.find("://127.0.0.1") != std::string::npos ||
         url.find("://localhost") != std::string::npos;
}

// One attempt. returns an empty text, or what went wrong and may pass
std::string attempt(CURL* curl, const std::string& url, const HttpOptions& options,
                    HttpReply& reply) {
  Body body{{}, static_cast<size_t>(options.max_bytes)};
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &body);
  const CURLcode code = curl_easy_perform(curl);
  check(!body.is_too_long, ErrorKind::kBadData, url, ": answers with more than ", options.max_bytes,
        " bytes");
  if (code == CURLE_OPERATION_TIMEDOUT) return concat("no answer within ", options.timeout_s, " s");
  if (code != CURLE_OK) return curl_easy_strerror(code);
  long status = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  reply = {status, std::move(body.text)};
  if (status == 429 || (status >= 500 && status <= 504)) return concat("status ", status);
  return "";
}

}  // namespace

HttpReply post_json(const std::string& url, const std::string& body,
                    const std::vector<std::string>& headers, const HttpOptions& options) {
  check_arg(url.starts_with("http://") || url.starts_with("https://"), "post_json",
            "expected a URL that starts with http:// or https://, got ", url);
  initialise_curl();
  const std::unique_ptr<CURL, void (*)(CURL*)> curl(curl_easy_init(), curl_easy_cleanup);
  check(curl != nullptr, ErrorKind::kInternal, "libcurl does not start");
  curl_slist* lines = curl_slist_append(nullptr, "Content-Type: application/json");
  for (const std::string& header : headers) lines = curl_slist_append(lines, header.c_str());
  const std::unique_ptr<curl_slist, void (*)(curl_slist*)> owner(lines, curl_slist_free_all);

  CURL* const handle = curl.get();
  curl_easy_setopt(handle, CURLOPT_URL, url.c_str());
  if (is_this_machine(url)) curl_easy_setopt(handle, CURLOPT_PROXY, "");
  curl_easy_setopt(handle, CURLOPT_HTTPHEADER, lines);
  curl_easy_setopt(handle, CURLOPT_POSTFIELDS, body.data());
  curl_easy_setopt(handle, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
  curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, receive);
  curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT_MS, milliseconds(options.connect_timeout_s));
  curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, milliseconds(options.timeout_s));
  curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);  // threads: no SIGALRM

  std::string trouble;
  double pause_s = options.pause_s;
  for (int64_t i = 0; i < options.attempts; ++i) {
    if (i > 0) {
      std::this_thread::sleep_for(std::chrono::duration<double>(pause_s));
      pause_s *= 2;
    }
    HttpReply reply;
    trouble = attempt(handle, url, options, reply);
    if (trouble.empty()) return reply;
    if (reply.status != 0 && i + 1 == options.attempts) return reply;  // its body may say why
  }
  fail(ErrorKind::kIo, url, ": ", trouble, " (", options.attempts, " attempts)");
}

}  // namespace lexel::ar
