#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <vector>

#include "kernels/check.h"

namespace lexel::parallel {

/// Why a rank ends: all others end with the same kind, so that a launcher's exit code is that of the cause.
struct Failure {
  ErrorKind kind = ErrorKind::kIo;
  std::string words;
};

/// The store where the ranks of a world meet, as one rank sees it. Private to this folder: its header costs 15 s to compile.
class Meeting {
 public:
  /// last_out  the store's server lives in this process: the destructor waits until the others have left
  Meeting(c10::intrusive_ptr<c10d::Store> store, int64_t rank, int64_t size, bool last_out);
  ~Meeting();
  Meeting(const Meeting&) = delete;
  Meeting& operator=(const Meeting&) = delete;

  const c10::intrusive_ptr<c10d::Store>& store() const { return store_; }

  /// Every rank gives a text and gets all ranks' texts, in their order. Called in the same order everywhere.
  /// throws   Error(kIo) naming the ranks that did not come within `timeout`
  std::vector<std::string> exchange(const std::string& what, const std::string& text,
                                    std::chrono::milliseconds timeout);

  /// After a collective failed: tells that this rank is alive and waits in `where`, and looks for the members that are not
  /// heard of within a short time.
  ///
  /// returns  kIo and "rank 3 is gone or hangs"; "rank 2 failed: <its words>", with its kind; or "" when all were heard of
  Failure who_is_missing(const std::string& where, const std::vector<int64_t>& members);

  /// Leaves word for the others' messages before this rank ends.
  void tell_failure(ErrorKind kind, const std::string& words);

 private:
  /// What a rank has told of its end; none: nothing.
  std::optional<Failure> failure_of(int64_t rank) const;

  c10::intrusive_ptr<c10d::Store> store_;
  int64_t rank_, size_;
  bool last_out_;
  int64_t exchanges_ = 0;
  bool noticed_ =
      false;  // that others are missing: then what ends this rank is not its own failure
};

}  // namespace lexel::parallel
