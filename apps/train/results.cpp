#include "apps/train/results.h"

#include <ATen/core/Tensor.h>
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <sstream>

#include "kernels/check.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/model_file.h"

namespace lexel::train {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMiB = 1 << 20;
constexpr const char* kCheckpoint = "checkpoint.safetensors";

/// Tensors that may lose bits: a run forgets their rounding within some hundred steps.
bool is_running_mean(const std::string& name) {
  for (const char* part : {"first/", "second/", "average/"}) {
    if (name.rfind(part, 0) == 0 || name.rfind(std::string("discriminator/") + part, 0) == 0) {
      return true;
    }
  }
  return false;
}

void write_compact(const std::string& from, const std::string& to) {
  ModelFile file = read_model_file(from);
  for (auto& [name, tensor] : file.tensors) {
    if (is_running_mean(name) && tensor.is_floating_point()) tensor = tensor.to(at::kBFloat16);
  }
  write_model_file(to, file);
}

/// Collects files in a folder until their number or size is used up.
class Carrier {
 public:
  Carrier(const cli::TrainResultsOptions& options, std::ostream& log)
      : output_(options.output),
        limit_(options.max_mb * kMiB),
        files_left_(options.max_files),
        log_(log) {}

  int64_t limit() const { return limit_; }
  int64_t files_left() const { return files_left_; }

  void add(const std::string& from, const std::string& name) {
    if (!fs::exists(from)) return;
    const int64_t bytes = int64_t(fs::file_size(from));
    if (bytes > limit_ || files_left_ == 0) {
      log_ << name << ": left out, " << bytes << " bytes in " << files_left_
           << " files that are left\n";
      return;
    }
    std::error_code error;
    fs::copy_file(from, output_ + "/" + name, fs::copy_options::overwrite_existing, error);
    check(!error, ErrorKind::kIo, output_, "/", name, ": ", error.message());
    count(name, bytes);
  }

  /// As parts of at most the limit; one file where it fits.
  void add_parts(const std::string& from, const std::string& name) {
    const int64_t bytes = int64_t(fs::file_size(from));
    if (bytes <= limit_) {
      add(from, name);
      return;
    }
    const std::vector<uint8_t> data = read_file(from, bytes);
    for (int64_t begin = 0, part = 1; begin < bytes; begin += limit_, ++part) {
      const int64_t length = std::min(limit_, bytes - begin);
      const std::string part_name = name + ".part" + std::to_string(part);
      AtomicFile file(output_ + "/" + part_name);
      file.write(data.data() + begin, size_t(length));
      file.commit();
      count(part_name, length);
    }
  }

 private:
  void count(const std::string& name, int64_t bytes) {
    --files_left_;
    log_ << name << ": " << bytes << " bytes\n";
  }

  std::string output_;
  int64_t limit_, files_left_;
  std::ostream& log_;
};

}  // namespace

void gather_results(const cli::TrainResultsOptions& options, std::ostream& log) {
  const std::string run = options.run + "/";
  check(fs::exists(run + kCheckpoint), ErrorKind::kIo, run, kCheckpoint, ": no such file");
  check(options.max_mb >= 1 && options.max_files >= 1, ErrorKind::kUsage,
        "expected at least one file of 1 MiB");
  std::error_code error;
  fs::create_directories(options.output, error);
  check(!error, ErrorKind::kIo, options.output, ": ", error.message());
  // Parts of an earlier, longer checkpoint would be joined with the new ones.
  for (const auto& entry : fs::directory_iterator(options.output)) {
    if (entry.path().filename().string().rfind(kCheckpoint, 0) == 0) fs::remove(entry.path());
  }

  Carrier carrier(options, log);
  const bool done = fs::exists(run + "model.safetensors");
  carrier.add(run + (done ? "model.safetensors" : "best.safetensors"), "model.safetensors");
  for (const char* name :
       {"samples.png", "report.html", "metrics.jsonl", "run.log", "text.model"}) {
    carrier.add(run + name, name);
  }

  const auto fits = [&](const std::string& path) {
    const int64_t bytes = int64_t(fs::file_size(path));
    return (bytes + carrier.limit() - 1) / carrier.limit() <= carrier.files_left();
  };
  std::string checkpoint = run + kCheckpoint;
  if (!fits(checkpoint)) {
    const std::string compact = run + "checkpoint-compact.safetensors";
    write_compact(checkpoint, compact);
    checkpoint = compact;
  }
  if (fits(checkpoint)) {
    carrier.add_parts(checkpoint, kCheckpoint);
  } else {
    log << kCheckpoint << ": left out, " << fs::file_size(checkpoint) << " bytes do not fit into "
        << carrier.files_left() << " files of " << options.max_mb << " MiB\n";
  }
}

}  // namespace lexel::train

int lexel::cli::run_train_results(const TrainResultsOptions& options) {
  std::ostringstream unread;
  train::gather_results(options, options.quiet ? static_cast<std::ostream&>(unread) : std::cerr);
  return 0;
}
