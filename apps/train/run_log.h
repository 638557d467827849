#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace lexel::train {

/// The metrics of a run as JSON lines. Each line is one object with a "type": "start", "step" or "eval".
class RunLog {
 public:
  /// Opens or makes the file and cuts it to `bytes`: what came after the checkpoint is run again.
  /// throws   Error(kIo)
  RunLog(const std::string& path, int64_t bytes);

  /// Appends a line and flushes it. `json` is the text of one object.
  void append(const std::string& json);
  int64_t bytes() const { return bytes_; }

 private:
  std::string path_;
  int64_t bytes_;
};

/// Writes report.html from metrics.jsonl and the sample pictures of the folder: curves of losses, rate and of what the
/// evaluations measured (of a tokenizer PSNR with its floors, and usage), and the samples with their captions, all inside
/// the one file.
void write_report(const std::string& folder);

}  // namespace lexel::train
