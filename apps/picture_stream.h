#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/check.h"
#include "tokenizers/io/picture_label.h"
#include "tokenizers/io/preprocess.h"

namespace lexel::cli {

/// One picture of a stream: ready for a model, or the reason why not.
struct StreamedPicture {
  std::string name;
  Prepared prepared;    // empty when there is a problem
  PictureLabel label;   // what its JSON says
  std::string problem;  // one line, names the picture; empty: none
  ErrorKind problem_kind = ErrorKind::kBadData;
};

/// Pictures of files, folders, tars and lists, read, decoded and fitted by several threads, handed out in
/// the order of the inputs. Memory is bounded by a window of a few pictures a thread.
class PictureStream {
 public:
  /// threads   0: one a core
  /// throws    as PictureSource's constructor
  PictureStream(const std::vector<std::string>& inputs, const Preprocess& preprocess,
                int64_t threads);
  ~PictureStream();

  /// The next picture; false at the end. Never throws for a bad picture: see `problem`.
  bool next(StreamedPicture& out);

  /// Number of pictures where it is known beforehand, else -1.
  int64_t size_hint() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lexel::cli
