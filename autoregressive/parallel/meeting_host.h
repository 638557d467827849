#pragma once

#include <cstdint>
#include <memory>

namespace lexel::parallel {

/// A meeting place for ranks, held by a launcher rather than by rank 0, so that it outlives any of them.
class MeetingHost {
 public:
  /// Takes a free port of this host.
  /// throws   Error(kIo)
  MeetingHost();
  ~MeetingHost();
  MeetingHost(const MeetingHost&) = delete;
  MeetingHost& operator=(const MeetingHost&) = delete;

  uint16_t port() const;

 private:
  struct Server;
  std::unique_ptr<Server> server_;
};

}  // namespace lexel::parallel
