#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "autoregressive/parallel/plan.h"
#include "kernels/check.h"
#include "tokenizers/io/atomic_file.h"

namespace lexel::parallel {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kMaxBytes = 1 << 20, kMaxCount = 4096, kMaxText = 200, kMaxDepth = 6;
constexpr int64_t kVersion = 1;

/// One JSON object of a plan: every key is asked for once, and none is left over.
class Object {
 public:
  Object(const Json& value, std::string where) : value_(value), where_(std::move(where)) {
    want(value.is_object(), "an object", value);
  }

  const Json& at(const char* key) {
    const auto found = value_.find(key);
    check(found != value_.end(), ErrorKind::kBadData, where_, ": key \"", key, "\" is missing");
    known_.insert(key);
    return *found;
  }

  bool has(const char* key) const { return value_.contains(key); }

  int64_t whole(const char* key, int64_t low, int64_t high) {
    return whole_of(at(key), child(key), low, high);
  }

  double number(const char* key) {
    const Json& value = at(key);
    const double number = value.is_number() ? value.get<double>() : -1.0;
    check(std::isfinite(number) && number >= 0, ErrorKind::kBadData, child(key),
          ": expected a number of at least 0, got ", shown(value));
    return number;
  }

  bool flag(const char* key) {
    const Json& value = at(key);
    check(value.is_boolean(), ErrorKind::kBadData, child(key), ": expected true or false, got ",
          shown(value));
    return value.get<bool>();
  }

  std::string text(const char* key) {
    const Json& value = at(key);
    check(value.is_string() && value.get_ref<const std::string&>().size() <= kMaxText,
          ErrorKind::kBadData, child(key), ": expected text of at most ", kMaxText, " bytes, got ",
          shown(value));
    return value.get<std::string>();
  }

  std::string one_of(const char* key, const std::vector<std::string>& words) {
    const std::string word = text(key);
    std::string all;
    for (const std::string& known : words) {
      if (word == known) return word;
      all += (all.empty() ? "" : ", ") + known;
    }
    fail(ErrorKind::kBadData, child(key), ": expected one of ", all, ", got \"", word, "\"");
  }

  /// Entries of an array, each with its place in messages.
  std::vector<std::pair<const Json*, std::string>> list(const char* key) {
    const Json& value = at(key);
    check(value.is_array() && value.size() <= kMaxCount, ErrorKind::kBadData, child(key),
          ": expected at most ", kMaxCount, " entries in [], got ", shown(value));
    std::vector<std::pair<const Json*, std::string>> entries;
    for (const Json& entry : value)
      entries.emplace_back(&entry, child(key) + "[" + std::to_string(entries.size()) + "]");
    return entries;
  }

  /// After the last key: whatever is left is a mistake.
  void finish() const {
    for (const auto& entry : value_.items())
      check(known_.count(entry.key()) == 1, ErrorKind::kBadData, where_, ": unknown key \"",
            entry.key().substr(0, kMaxText), "\"");
  }

  std::string child(const char* key) const { return where_ + ": " + key; }

  static int64_t whole_of(const Json& value, const std::string& where, int64_t low, int64_t high) {
    const bool fits = value.is_number_integer() &&
                      !(value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX) &&
                      value.get<int64_t>() >= low && value.get<int64_t>() <= high;
    check(fits, ErrorKind::kBadData, where, ": expected a whole number from ", low, " to ", high,
          ", got ", shown(value));
    return value.get<int64_t>();
  }

 private:
  static std::string shown(const Json& value) {
    std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
    return text.size() <= 60 ? text : text.substr(0, 57) + "...";
  }
  void want(bool ok, const char* type, const Json& value) const {
    check(ok, ErrorKind::kBadData, where_, ": expected ", type, ", got ", shown(value));
  }

  const Json& value_;
  std::string where_;
  std::set<std::string> known_;
};

Json json_of(const BlockRange& range) { return Json::array({range.begin, range.end}); }

BlockRange range_of(Object& object, const char* key) {
  const auto ends = object.list(key);
  check(ends.size() == 2, ErrorKind::kBadData, object.child(key), ": expected [begin, end], got ",
        ends.size(), " numbers");
  const int64_t begin = Object::whole_of(*ends[0].first, ends[0].second, 0, kMaxCount);
  return {begin, Object::whole_of(*ends[1].first, ends[1].second, begin, kMaxCount)};
}

Json json_of(const Annotation& annotation) {
  Json out;
  out["weights"] = annotation.pattern;
  if (annotation.placement.split) {
    out["split"] = {{"dim", annotation.placement.dim}, {"axis", annotation.placement.axis}};
  } else {
    out["replicate"] = true;
  }
  return out;
}

Annotation annotation_of(const Json& value, const std::string& where) {
  Object object(value, where);
  Annotation annotation{object.text("weights"), {}};
  if (object.has("split")) {
    Object split(object.at("split"), object.child("split"));
    annotation.placement = Placement::along(
        split.whole("dim", 0, 7), split.one_of("axis", {"data", "pipeline", "expert", "tensor"}));
    split.finish();
  } else {
    check(object.flag("replicate"), ErrorKind::kBadData, object.child("replicate"),
          ": expected true, got false");
  }
  object.finish();
  return annotation;
}

Json json_of(const Prediction& predicted) {
  Json out;
  out["step_s"] = predicted.step_s;
  out["bubble"] = predicted.bubble;
  out["ranks"] = Json::array();
  for (const RankPrediction& rank : predicted.ranks)
    out["ranks"].push_back({{"memory_bytes", rank.memory_bytes}, {"busy_s", rank.busy_s}});
  out["bytes"] = Json::object();
  for (const auto& [collective, bytes] : predicted.bytes) out["bytes"][collective] = bytes;
  return out;
}

Prediction prediction_of(const Json& value, const std::string& where) {
  Object object(value, where);
  Prediction predicted;
  predicted.step_s = object.number("step_s");
  predicted.bubble = object.number("bubble");
  for (const auto& [entry, at] : object.list("ranks")) {
    Object rank(*entry, at);
    predicted.ranks.push_back({rank.number("memory_bytes"), rank.number("busy_s")});
    rank.finish();
  }
  Object bytes(object.at("bytes"), object.child("bytes"));
  for (const char* collective :
       {"all_gather", "all_reduce", "all_to_all", "broadcast", "reduce_scatter", "send"})
    if (bytes.has(collective)) predicted.bytes[collective] = bytes.number(collective);
  bytes.finish();
  object.finish();
  return predicted;
}

/// Refuses keys that stand twice in one object, and depths that no plan has.
Json parse_json(const std::string& text, const std::string& name) {
  check(text.size() <= size_t{kMaxBytes}, ErrorKind::kBadData, name, ": expected at most ",
        kMaxBytes, " bytes, got ", text.size());
  std::vector<std::set<std::string>> open;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& value) {
    check(depth <= kMaxDepth, ErrorKind::kBadData, name, ": nested too deeply for a plan");
    if (event == Json::parse_event_t::object_start) open.emplace_back();
    if (event == Json::parse_event_t::object_end) open.pop_back();
    if (event == Json::parse_event_t::key) {
      const auto& key = value.get_ref<const std::string&>();
      check(open.back().insert(key).second, ErrorKind::kBadData, name, ": key \"",
            key.substr(0, kMaxText), "\" twice");
    }
    return true;
  };
  Json value = Json::parse(text, watch, /*allow_exceptions=*/false);
  check(!value.is_discarded(), ErrorKind::kBadData, name, ": not JSON");
  return value;
}

MeshShape mesh_of(const std::string& text, const std::string& where) {
  try {
    return parse_mesh(text);
  } catch (const Error& error) {  // from a file it is bad data, not a wrong argument
    fail(ErrorKind::kBadData, where, ": ", error.what());
  }
}

}  // namespace

std::string plan_text(const Plan& plan) {
  Json out;
  out["lexel.plan"] = kVersion;
  out["model"] = plan.model;
  out["fingerprint"] = plan.fingerprint;
  out["mesh"] = to_text(plan.mesh);
  out["batch"] = plan.batch;
  out["micro_batches"] = plan.micro_batches;
  out["schedule"] = plan.schedule;
  out["rounds"] = plan.rounds;
  out["stages"] = Json::array();
  for (const Stage& stage : plan.stages) {
    Json entry;
    entry["encoder"] = json_of(stage.encoder);
    entry["decoder"] = json_of(stage.decoder);
    out["stages"].push_back(entry);
  }
  out["rematerialize"] = plan.rematerialize;
  out["shard_update"] = plan.shard_update;
  out["residual"] = plan.residual;
  out["annotations"] = Json::array();
  for (const Annotation& annotation : plan.annotations)
    out["annotations"].push_back(json_of(annotation));
  out["predicted"] = json_of(plan.predicted);
  return out.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Plan parse_plan(const std::string& text, const std::string& name) {
  const Json value = parse_json(text, name);
  Object object(value, name);
  object.whole("lexel.plan", kVersion, kVersion);
  Plan plan;
  plan.model = object.text("model");
  plan.fingerprint = object.text("fingerprint");
  check(plan.fingerprint.size() == 64 &&
            plan.fingerprint.find_first_not_of("0123456789abcdef") == std::string::npos,
        ErrorKind::kBadData, object.child("fingerprint"), ": expected 64 hex digits, got \"",
        plan.fingerprint, "\"");
  plan.mesh = mesh_of(object.text("mesh"), object.child("mesh"));
  plan.batch = object.whole("batch", 1, int64_t{1} << 32);
  plan.micro_batches = object.whole("micro_batches", 1, 1 << 20);
  plan.schedule = object.one_of("schedule", {"gpipe", "1f1b", "circular"});
  plan.rounds = object.whole("rounds", 1, kMaxCount);
  for (const auto& [entry, where] : object.list("stages")) {
    Object stage(*entry, where);
    const BlockRange encoder = range_of(stage, "encoder");
    plan.stages.push_back({encoder, range_of(stage, "decoder")});
    stage.finish();
  }
  plan.rematerialize = object.flag("rematerialize");
  plan.shard_update = object.flag("shard_update");
  plan.residual = object.one_of("residual", {"replicate", "split"});
  for (const auto& [entry, where] : object.list("annotations"))
    plan.annotations.push_back(annotation_of(*entry, where));
  plan.predicted = prediction_of(object.at("predicted"), object.child("predicted"));
  object.finish();
  return plan;
}

Plan read_plan(const std::string& path) {
  const std::vector<uint8_t> bytes = read_file(path, kMaxBytes);
  return parse_plan(std::string(bytes.begin(), bytes.end()), path);
}

void write_plan(const std::string& path, const Plan& plan) { write_file(path, plan_text(plan)); }

}  // namespace lexel::parallel
