#include "autoregressive/parallel/meeting_host.h"

#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "kernels/check.h"

namespace lexel::parallel {

struct MeetingHost::Server {
  c10::intrusive_ptr<c10d::TCPStore> store;
};

MeetingHost::MeetingHost() : server_(std::make_unique<Server>()) {
  c10d::TCPStoreOptions options;
  options.port = 0;
  options.isServer = true;
  options.waitWorkers = false;
  try {
    server_->store = c10::make_intrusive<c10d::TCPStore>("127.0.0.1", options);
  } catch (const std::exception&) {
    fail(ErrorKind::kIo, "no port of this host can be listened at");
  }
}

MeetingHost::~MeetingHost() = default;

uint16_t MeetingHost::port() const { return server_->store->getPort(); }

}  // namespace lexel::parallel
