#include "apps/train/checkpoint.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "kernels/check.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/sha256.h"

namespace lexel::train {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr const char* kKind = "training_checkpoint";
constexpr const char* kPartKind = "training_checkpoint_part";
constexpr int64_t kMostParts = 65536;
constexpr int64_t kMostBytes = int64_t{1} << 40;  // of one part

void check_kind(const ModelFile& file, const std::string& path, const char* kind = kKind) {
  check(file.kind == kind, ErrorKind::kBadData, path, ": expected a training checkpoint",
        kind == kKind ? "" : "'s part", ", got a ", file.kind);
}

int64_t count_of(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

/// A piece as it stands in a file: where it belongs in the whole tensor.
Json description(const StatePiece& piece) {
  Json json = {{"shape", piece.shape}, {"begin", piece.begin}};
  if (!piece.part.ranges.empty()) {
    json["dim"] = piece.part.dim;
    json["ranges"] = piece.part.ranges;
  }
  return json;
}

std::string sum_of_file(const std::string& path, int64_t bytes) {
  const std::vector<uint8_t> content = read_file(path, bytes);
  return sha256(content.data(), content.size());
}

std::string part_name(const std::string& path, int64_t step, const parallel::World& world) {
  return concat(fs::path(path).stem().string(), "-", step, "-", world.rank + 1, "-of-", world.size,
                ".safetensors");
}

/// Parts of checkpoints that no longer count, and of attempts that failed.
void remove_other_parts(const std::string& path, const std::set<std::string>& kept) {
  const std::string stem = fs::path(path).stem().string() + "-";
  std::error_code error;
  std::vector<fs::path> old;
  for (const auto& entry : fs::directory_iterator(fs::path(path).parent_path(), error)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind(stem, 0) == 0 && name.find("-of-") != std::string::npos &&
        entry.path().extension() == ".safetensors" && kept.count(name) == 0)
      old.push_back(entry.path());
  }
  for (const fs::path& file : old) fs::remove(file, error);
}

/// The narrowed views of a tensor that a part is made of.
std::vector<at::Tensor> views(const at::Tensor& whole, const PartOfTensor& part) {
  if (part.ranges.empty()) return {whole};
  std::vector<at::Tensor> result;
  for (const auto& [first, count] : part.ranges)
    result.push_back(whole.narrow(part.dim, first, count));
  return result;
}

/// A part whose values are the numbers of its places in the flattened whole: (numel of the part) int64.
at::Tensor part_of(const at::Tensor& whole, const PartOfTensor& part) {
  const auto pieces = views(whole, part);
  return (pieces.size() == 1 ? pieces[0] : at::cat(pieces, part.dim)).reshape({-1});
}

/// What a part file says of one of its tensors, checked.
StatePiece described(const Json& json, const std::string& name, const at::Tensor& tensor,
                     const std::string& path) {
  StatePiece piece;
  try {
    piece.shape = json.at("shape").get<std::vector<int64_t>>();
    piece.begin = json.at("begin").get<int64_t>();
    if (json.contains("ranges")) {
      piece.part.dim = json.at("dim").get<int64_t>();
      piece.part.ranges = json.at("ranges").get<std::vector<std::pair<int64_t, int64_t>>>();
    }
  } catch (const nlohmann::json::exception&) {
    fail(ErrorKind::kBadData, path, ": tensor '", name, "': its place is not told");
  }
  piece.name = name;
  piece.tensor = tensor;
  return piece;
}

bool fits(const StatePiece& piece) {
  int64_t count = 1;
  for (size_t d = 0; d < piece.shape.size(); ++d) {
    int64_t size = piece.shape[d];
    if (size < 0 || size > kMostBytes || (size > 0 && count > kMostBytes / size)) return false;
    if (!piece.part.ranges.empty() && piece.part.dim == static_cast<int64_t>(d)) {
      int64_t sum = 0;
      for (const auto& [first, length] : piece.part.ranges) {
        if (first < 0 || length < 0 || first > size || length > size - first) return false;
        sum += length;
      }
      size = sum;
    }
    count *= size;
  }
  if (!piece.part.ranges.empty() &&
      (piece.part.dim < 0 || piece.part.dim >= static_cast<int64_t>(piece.shape.size())))
    return false;
  return piece.begin >= 0 && piece.begin <= count && piece.tensor.numel() <= count - piece.begin;
}

/// Copies values between a piece and the whole tensor that it is a piece of.
void copy_piece(const StatePiece& piece, const at::Tensor& whole, bool into_whole) {
  const at::Tensor flat = whole.view({-1});
  const int64_t count = piece.tensor.numel();
  if (piece.part.ranges.empty()) {
    const at::Tensor place = flat.narrow(0, piece.begin, count);
    const at::Tensor values = piece.tensor.detach().view({-1});
    into_whole ? place.copy_(values) : values.copy_(place);
    return;
  }
  const at::Tensor part = part_of(whole, piece.part);
  if (!into_whole) {
    piece.tensor.detach().view({-1}).copy_(part.narrow(0, piece.begin, count));
    return;
  }
  part.narrow(0, piece.begin, count).copy_(piece.tensor.reshape({-1}));
  std::vector<int64_t> shape = whole.sizes().vec();
  int64_t first = 0, sum = 0;
  for (const auto& range : piece.part.ranges) sum += range.second;
  shape[static_cast<size_t>(piece.part.dim)] = sum;
  const at::Tensor shaped = part.view(shape);
  for (const at::Tensor& view : views(whole, piece.part)) {
    const int64_t length = view.size(piece.part.dim);
    view.copy_(shaped.narrow(piece.part.dim, first, length));
    first += length;
  }
}

}  // namespace

void write_checkpoint(const std::string& path, const std::string& recipe,
                      const std::string& numbers, const std::vector<StatePiece>& pieces,
                      const parallel::World& world) {
  const bool alone = world.size == 1;
  ModelFile file{alone ? kKind : kPartKind, recipe, "{}", numbers, "not for distribution", {}};
  Json described_pieces = Json::object();
  for (const StatePiece& piece : pieces) {
    const at::Tensor values = piece.tensor.detach().cpu();
    file.tensors[piece.name] = alone ? values.view(piece.shape) : values;
    described_pieces[piece.name] = description(piece);
  }
  if (alone) {
    write_model_file(path, file);
    remove_other_parts(path, {});
    return;
  }
  file.config = Json({{"pieces", described_pieces}}).dump();
  auto counts = Json::parse(numbers);
  const std::string name = part_name(path, counts.at("step").get<int64_t>(), world);
  const std::string part = (fs::path(path).parent_path() / name).string();
  write_model_file(part, file);
  const auto bytes = static_cast<int64_t>(fs::file_size(part));
  const auto parts = exchange(
      world, "checkpoint",
      Json({{"file", name}, {"bytes", bytes}, {"sha256", sum_of_file(part, bytes)}}).dump());
  if (world.rank == 0) {
    std::set<std::string> kept;
    counts["parts"] = Json::array();
    for (const std::string& text : parts) {
      counts["parts"].push_back(Json::parse(text));
      kept.insert(counts["parts"].back()["file"].get<std::string>());
    }
    write_model_file(path, {kKind, recipe, "{}", counts.dump(), "not for distribution", {}});
    remove_other_parts(path, kept);
  }
  exchange(world, "checkpoint written", "");
}

Checkpoint read_checkpoint(const std::string& path) {
  ModelFile file = read_model_file(path);
  check_kind(file, path);
  Checkpoint checkpoint{file.config, file.provenance, {}};
  const auto numbers = Json::parse(file.provenance, nullptr, /*allow_exceptions=*/false);
  if (!numbers.is_object() || !numbers.contains("parts")) {
    checkpoint.files.push_back(std::move(file));
    return checkpoint;
  }
  try {
    const auto& parts = numbers.at("parts");
    check(parts.is_array() && static_cast<int64_t>(parts.size()) <= kMostParts, ErrorKind::kBadData,
          path, ": the list of parts is not one");
    for (const auto& part : parts) {
      const auto name = part.at("file").get<std::string>();
      check(fs::path(name).filename() == name, ErrorKind::kBadData, path, ": a part called '", name,
            "'");
      const std::string full = (fs::path(path).parent_path() / name).string();
      const auto bytes = part.at("bytes").get<int64_t>();
      std::error_code error;
      const auto found = fs::file_size(full, error);
      check(!error, ErrorKind::kBadData, path, ": its part ", name, " is missing");
      check(bytes >= 0 && bytes <= kMostBytes && found == static_cast<uintmax_t>(bytes),
            ErrorKind::kBadData, path, ": its part ", name, " has ", found,
            " bytes, was written with ", bytes);
      check(sum_of_file(full, bytes) == part.at("sha256").get<std::string>(), ErrorKind::kBadData,
            path, ": its part ", name, " does not have the bytes that it was written with");
      checkpoint.files.push_back(read_model_file(full));
      check_kind(checkpoint.files.back(), full, kPartKind);
    }
  } catch (const nlohmann::json::exception& error) {
    fail(ErrorKind::kBadData, path, ": the list of parts: ", error.what());
  }
  return checkpoint;
}

void restore_pieces(const Checkpoint& checkpoint, const std::string& path,
                    const std::vector<StatePiece>& pieces) {
  const at::NoGradGuard no_grad;
  std::vector<Json> places;  // by file: what each of its tensors is
  for (const ModelFile& file : checkpoint.files) {
    places.push_back(file.kind == kPartKind
                         ? Json::parse(file.config, nullptr, false).value("pieces", Json::object())
                         : Json::object());
  }
  std::string whole_name;  // pieces of one name stand together: the whole tensor is made once
  at::Tensor whole;
  for (const StatePiece& piece : pieces) {
    if (piece.name != whole_name) {
      whole = at::Tensor();
      at::Tensor covered;
      for (size_t f = 0; f < checkpoint.files.size(); ++f) {
        const auto found = checkpoint.files[f].tensors.find(piece.name);
        if (found == checkpoint.files[f].tensors.end()) continue;
        const StatePiece stored =
            places[f].contains(piece.name)
                ? described(places[f][piece.name], piece.name, found->second, path)
                : StatePiece{piece.name, found->second.sizes().vec(), {}, 0, found->second};
        check(stored.shape == piece.shape, ErrorKind::kBadData, path, ": tensor '", piece.name,
              "': expected shape ", at::IntArrayRef(piece.shape), ", got ",
              at::IntArrayRef(stored.shape));
        check(fits(stored), ErrorKind::kBadData, path, ": tensor '", piece.name,
              "': a part does not lie inside it");
        if (!whole.defined()) {
          whole = at::empty(piece.shape, found->second.options());
          covered = at::zeros(piece.shape, at::kByte);
        }
        check(whole.scalar_type() == found->second.scalar_type(), ErrorKind::kBadData, path,
              ": tensor '", piece.name, "': parts of two dtypes");
        copy_piece(stored, whole, /*into_whole=*/true);
        StatePiece mark = stored;
        mark.tensor = at::empty({found->second.numel()}, at::kByte).fill_(1);
        copy_piece(mark, covered, /*into_whole=*/true);
      }
      check(whole.defined(), ErrorKind::kBadData, path, ": tensor '", piece.name, "' is missing");
      check(covered.all().item<bool>(), ErrorKind::kBadData, path, ": tensor '", piece.name,
            "': a part of it is missing");
      whole_name = piece.name;
    }
    check(count_of(piece.shape) == whole.numel() && fits(piece), ErrorKind::kBadData, path,
          ": tensor '", piece.name, "': expected shape ", at::IntArrayRef(piece.shape), ", got ",
          whole.sizes());
    copy_piece(piece, whole, /*into_whole=*/false);
  }
}

std::string checkpoint_recipe(const std::string& path, const std::string& kind) {
  const ModelFile file = read_model_file_summary(path).file;
  check_kind(file, path);
  const auto numbers = nlohmann::json::parse(file.provenance, nullptr, false);
  const std::string found = numbers.is_object() ? numbers.value("kind", "tokenizer") : "tokenizer";
  check(found == kind, ErrorKind::kBadData, path, ": expected a checkpoint of a ", kind, ", got a ",
        found, "'s");
  return file.config;
}

}  // namespace lexel::train
