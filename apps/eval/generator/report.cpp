#include "apps/eval/generator/report.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <sstream>

#include "apps/eval/paired_frechet.h"
#include "kernels/check.h"

namespace lexel::eval {
namespace {

constexpr int64_t kShuffles = 20;  // captions that each picture is judged by for chance
// A resample costs a singular value decomposition of pictures x pictures.
constexpr int64_t kFrechetResamples = 100, kFrechetPictures = 1500;

Json to_json(const Interval& interval) {
  return {{"value", interval.estimate}, {"low", interval.low}, {"high", interval.high}};
}

Json to_json(const Tally& tally) {
  Json json = to_json(wilson_interval(tally.held, tally.made));
  json["of"] = tally.made;
  return json;
}

std::array<Tally, kClaims> judged(const std::vector<data::Truth>& truths,
                                  const std::vector<Sight>& sights, const data::ThingSizes& sizes) {
  std::vector<Verdict> verdicts;
  for (size_t i = 0; i < sights.size(); ++i) verdicts.push_back(judge(truths[i], sights[i], sizes));
  return tally(verdicts);
}

Json claims_of(const std::vector<data::Truth>& truths, const Sights& sights,
               const data::ThingSizes& sizes) {
  const auto drawn = judged(truths, sights.drawn, sizes),
             composed = judged(truths, sights.composed, sizes),
             decoded = judged(truths, sights.decoded, sizes),
             chance = tally_shuffled(truths, sights.drawn, sizes, kShuffles);
  Json claims = Json::object();
  for (size_t i = 0; i < kClaims; ++i) {
    if (drawn[i].made == 0) continue;
    Json entry = to_json(drawn[i]);
    entry["ceiling, composed"] = to_json(composed[i]);
    entry["ceiling, decoded"] = to_json(decoded[i]);
    const double made = static_cast<double>(std::max<int64_t>(1, chance[i].made));
    entry["chance"] = static_cast<double>(chance[i].held) / made;
    claims[name_of(static_cast<Claim>(i))] = std::move(entry);
  }
  return claims;
}

/// A resample repeats pictures, which makes the distance larger: the interval's width says how much chance there
/// is, its place does not.
Interval centred(const Interval& interval) {
  const double shift = interval.estimate - (interval.low + interval.high) / 2;
  return {interval.estimate, interval.low + shift, interval.high + shift};
}

std::string number(double value, int digits) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(digits) << value;
  return out.str();
}

std::string share(const Json& value) { return number(100 * value["value"].get<double>(), 1); }

std::string with_interval(const Json& value, double scale, int digits) {
  std::string text = number(scale * value["value"].get<double>(), digits);
  if (value.contains("low")) {
    text += " [" + number(scale * value["low"].get<double>(), digits) + ", " +
            number(scale * value["high"].get<double>(), digits) + "]";
  }
  return text;
}

std::string row(const std::string& name, const std::vector<std::string>& cells) {
  std::ostringstream out;
  out << "  " << std::left << std::setw(34) << name << std::setw(22) << cells[0];
  for (size_t i = 1; i < cells.size(); ++i) out << std::right << std::setw(10) << cells[i];
  std::string line = out.str();
  line.erase(line.find_last_not_of(' ') + 1);
  return line + "\n";
}

}  // namespace

Json caption_match(const SceneSet& set, const Sights& sights, const data::ThingSizes& sizes) {
  Json claims = claims_of(set.truths, sights, sizes);
  // A thing alone: a sentence that is new, or a thing that no training scene shows alone, are not the same difficulty.
  for (const data::HeldOut reason : {data::HeldOut::kWording, data::HeldOut::kCount}) {
    std::vector<data::Truth> truths;
    Sights some;
    for (size_t i = 0; i < set.truths.size(); ++i) {
      if (set.truths[i].held_out != reason || set.truths[i].kind != data::SceneKind::kSingle)
        continue;
      truths.push_back(set.truths[i]);
      some.composed.push_back(sights.composed[i]);
      some.decoded.push_back(sights.decoded[i]);
      some.drawn.push_back(sights.drawn[i]);
    }
    if (truths.empty()) continue;
    const bool wording = reason == data::HeldOut::kWording;
    claims[wording ? "one thing in a new sentence" : "one thing never seen alone"] =
        claims_of(truths, some, sizes)[name_of(Claim::kSingle)];
  }
  return claims;
}

Json frechet(const at::Tensor& a, const at::Tensor& b, uint64_t seed) {
  if (a.size(0) > kFrechetPictures)
    return {{"value", frechet_distance(feature_statistics(a), feature_statistics(b))}};
  const PairedFrechet paired(a, b);
  return to_json(centred(bootstrap_interval(
      a.size(0), [&](const std::vector<int64_t>& items) { return paired.distance(items); }, seed,
      kFrechetResamples)));
}

Json likelihood(const std::vector<double>& heldout, const std::vector<double>& train,
                int64_t codebook_size, uint64_t seed, int64_t resamples) {
  check_arg(heldout.size() == train.size() && !train.empty(), "likelihood",
            "expected as many pictures of both kinds, got ", heldout.size(), " and ", train.size());
  std::vector<double> gap;
  for (size_t i = 0; i < heldout.size(); ++i) gap.push_back(heldout[i] - train[i]);
  return {{"held-out pictures", to_json(bootstrap_mean(heldout, seed, resamples))},
          {"pictures as in training", to_json(bootstrap_mean(train, seed + 1, resamples))},
          {"gap", to_json(bootstrap_mean(gap, seed + 2, resamples))},
          {"knowing nothing (ln K)", {{"value", std::log(static_cast<double>(codebook_size))}}}};
}

std::string table(const Json& report) {
  std::ostringstream out;
  const Json& set = report["reference set"];
  out << report["generator"]["name"].get<std::string>() << " on " << set["scenes"] << " "
      << set["split"].get<std::string>() << " scenes (set "
      << set["SHA-256"].get<std::string>().substr(0, 12) << ")\n"
      << row("what captions claim, %", {"drawn", "ceiling", "decoded", "chance", "captions"});
  for (const auto& [name, claim] : report["caption match"].items()) {
    out << row("  " + name,
               {with_interval(claim, 100, 1), share(claim["ceiling, composed"]),
                share(claim["ceiling, decoded"]), number(100 * claim["chance"].get<double>(), 1),
                std::to_string(claim["of"].get<int64_t>())});
  }
  if (report.contains("Frechet distance")) {
    out << row("Frechet distance (EfficientNet)", {""});
    for (const auto& [name, value] : report["Frechet distance"].items())
      out << row("  " + name, {with_interval(value, 1, 2)});
  }
  out << row("-ln p, nats a token", {""});
  for (const auto& [name, value] : report["negative log-likelihood"].items())
    out << row("  " + name, {with_interval(value, 1, 3)});
  return out.str();
}

}  // namespace lexel::eval
