#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <limits>
#include <map>
#include <tuple>
#include <vector>

#include "autoregressive/parallel/group.h"

namespace lexel::parallel {

/// What travels between the ranks of a pipeline.
enum class Cargo : int64_t {
  kDecoderStream,
  kDecoderGradient,
  kEncoderStream,
  kEncoderGradient,
  kText,
  kTextGradient
};

/// The messages of one pass on one rank. Sending never waits; those to the rank itself are handed over.
class Mail {
 public:
  Mail(Group& group, int64_t micro_batches, int64_t chunks)
      : group_(group), micro_batches_(micro_batches), chunks_(chunks) {}

  /// Makes ready for a message of the shape of `room`; `chunk` is that of the reader.
  void receive(Cargo cargo, int64_t micro_batch, int64_t chunk, int64_t from, at::Tensor room);
  /// What has come; waits for it.
  /// throws   Error(kInternal) where receive() was not called for it
  at::Tensor take(Cargo cargo, int64_t micro_batch, int64_t chunk, int64_t from);
  /// `read_at` is the clock at which its reader needs it.
  void send(Cargo cargo, int64_t micro_batch, int64_t chunk, int64_t to, const at::Tensor& x,
            int64_t read_at);
  /// Waits for all that was sent to readers before `clock`, and frees it.
  void finish_sends(int64_t clock = std::numeric_limits<int64_t>::max());

 private:
  using Key = std::tuple<Cargo, int64_t, int64_t, int64_t>;
  struct Incoming {
    at::Tensor content;
    Pending pending;
  };
  struct Outgoing {
    int64_t read_at = 0;
    Pending pending;
  };
  int64_t tag(Cargo cargo, int64_t micro_batch, int64_t chunk) const;

  Group& group_;
  int64_t micro_batches_, chunks_;
  std::map<Key, Incoming> incoming_;
  std::vector<Outgoing> outgoing_;
};

}  // namespace lexel::parallel
