#pragma once

#include <arpa/inet.h>
#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <netinet/in.h>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace lexel::tests {

/// An HTTP server on a free port of this machine that can misbehave: `answer` gets the body of a request and gives every byte
/// that goes back. One connection at a time.
class TinyServer {
 public:
  using Answer = std::function<std::string(const std::string& body)>;

  explicit TinyServer(Answer answer) : answer_(std::move(answer)) {
    socket_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    started_ = ::bind(socket_, any, size) == 0 && ::listen(socket_, 8) == 0 &&
               ::getsockname(socket_, any, &size) == 0;
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~TinyServer() {
    stopping_ = true;
    ::shutdown(socket_, SHUT_RDWR);  // ends accept()
    thread_.join();
    ::close(socket_);
  }
  TinyServer(const TinyServer&) = delete;
  TinyServer& operator=(const TinyServer&) = delete;

  bool started() const { return started_; }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_) + "/v1"; }
  std::vector<std::string> requests() const {  // whole: head and body
    const std::lock_guard lock(mutex_);
    return requests_;
  }
  void wait_ms(int64_t most) const {  // or until the server goes
    for (int64_t i = 0; i < most / 10 && !stopping_; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }

  static std::string reply(int status, const std::string& body) {
    return "HTTP/1.1 " + std::to_string(status) + " x\r\nContent-Type: application/json\r\n" +
           "Connection: close\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
           body;
  }

 private:
  void serve() {
    while (!stopping_) {
      const int connection = ::accept(socket_, nullptr, nullptr);
      if (connection < 0) return;
      std::string request;
      size_t wanted = std::string::npos;
      while (request.size() < wanted) {
        char buffer[4096];
        const ssize_t size = ::recv(connection, buffer, sizeof(buffer), 0);
        if (size <= 0) break;
        request.append(buffer, static_cast<size_t>(size));
        const size_t head = request.find("\r\n\r\n");
        const size_t length = request.find("Content-Length: ");
        if (head != std::string::npos && length < head)
          wanted = head + 4 + std::stoul(request.substr(length + 16));
      }
      {
        const std::lock_guard lock(mutex_);
        requests_.push_back(request);
      }
      const size_t head = request.find("\r\n\r\n");
      const std::string bytes =
          answer_(head == std::string::npos ? std::string() : request.substr(head + 4));
      ::send(connection, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      ::close(connection);
    }
  }

  Answer answer_;
  int socket_ = -1;
  int port_ = 0;
  bool started_ = false;
  std::atomic<bool> stopping_ = false;
  mutable std::mutex mutex_;
  std::vector<std::string> requests_;
  std::thread thread_;
};

}  // namespace lexel::tests
