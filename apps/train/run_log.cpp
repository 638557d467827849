#include "apps/train/run_log.h"

#include <filesystem>
#include <fstream>

#include "kernels/check.h"

namespace lexel::train {

RunLog::RunLog(const std::string& path, int64_t bytes) : path_(path), bytes_(bytes) {
  std::error_code error;
  if (bytes == 0) {
    std::ofstream(path_, std::ios::trunc | std::ios::binary);
  } else {
    const auto size = std::filesystem::file_size(path_, error);
    check(!error && int64_t(size) >= bytes, ErrorKind::kIo, path_, ": expected at least ", bytes,
          " bytes, as the checkpoint says");
    std::filesystem::resize_file(path_, uint64_t(bytes), error);
  }
  check(!error && std::filesystem::exists(path_), ErrorKind::kIo, path_, ": cannot be written");
}

void RunLog::append(const std::string& json) {
  std::ofstream out(path_, std::ios::app | std::ios::binary);
  out << json << '\n';
  out.close();
  check(!out.fail(), ErrorKind::kIo, path_, ": cannot be written");
  bytes_ += int64_t(json.size()) + 1;
}

}  // namespace lexel::train
