#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <vector>

#include "autoregressive/parallel/group.h"
#include "autoregressive/parallel/pipeline_letters.h"

namespace lexel::parallel {

/// The letters of one pass on one rank. Sending never waits; a letter to the rank itself is handed over.
class Mail {
 public:
  /// letters  of the pass; outlives this
  /// room     an empty tensor of the shape of a letter
  Mail(Group& group, const Letters& letters, bool with_backward,
       std::function<at::Tensor(const Letter&)> room);

  /// Makes ready for a letter, and for all that its sender sends before it.
  void expect(const Letter& letter);
  /// What has come; waits for it.
  /// throws   Error(kInternal) where expect() was not called for it
  at::Tensor take(const Letter& letter);
  void send(const Letter& letter, const at::Tensor& x);
  /// Waits for all that was sent to readers before `clock`, and frees it.
  void finish_sends(int64_t clock = std::numeric_limits<int64_t>::max());

 private:
  struct Incoming {
    at::Tensor content;
    Pending pending;
  };
  struct Outgoing {
    int64_t read_at = 0;
    Pending pending;
  };
  struct Sender {
    std::vector<Letter> letters;  // in their order
    size_t expected = 0;          // of them
  };

  Group& group_;
  const Letters& letters_;
  std::function<at::Tensor(const Letter&)> room_;
  std::map<int64_t, Sender> senders_;
  std::map<Letter, Incoming> incoming_;
  std::vector<Outgoing> outgoing_;
};

}  // namespace lexel::parallel
