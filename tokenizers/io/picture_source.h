#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace lexel {

/// One picture of a set, still encoded: bytes of a file or of a tar member, with what stands beside it.
struct PictureBytes {
  std::string name;    // path relative to the input, or member name without extension conflicts
  std::string source;  // the file or tar it came from
  std::vector<uint8_t> data;
  std::string json;  // WebDataset: the text of the .json member of the same key; else empty
};

/// A sequence of encoded pictures from files, folders (recursive, sorted by name), tars (WebDataset: one
/// key = one sample) and list files (.txt: one path a line), in a fixed order.
class PictureSource {
 public:
  /// inputs  files, folders, .tar, .txt lists; "-" reads one picture from stdin
  /// throws  Error(kIo) naming the input that cannot be read; Error(kUsage) when there is no input
  explicit PictureSource(const std::vector<std::string>& inputs);
  ~PictureSource();

  /// The next picture; false at the end. A file that cannot be read, or a truncated tar, is reported by
  /// Error(kIo) / Error(kBadData) naming it; the following call goes on with the next one.
  bool next(PictureBytes& out);

  /// Number of pictures if it is known without reading tars to their end, else -1 (for progress bars).
  int64_t size_hint() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Writes WebDataset shards: for each sample KEY.jpg|png|webp and KEY.json.
class TarWriter {
 public:
  explicit TarWriter(const std::string& path);  // temporary file until close()
  ~TarWriter();                                 // not closed: the temporary file is removed
  void add(const std::string& member, const uint8_t* data, size_t bytes);
  void close();  // flush, check, rename; throws Error(kIo)

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lexel
