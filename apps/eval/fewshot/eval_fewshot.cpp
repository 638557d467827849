#include <algorithm>
#include <chrono>
#include <iomanip>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "apps/eval/fewshot/answers.h"
#include "apps/eval/fewshot/options.h"
#include "apps/eval/fewshot/worded_pictures.h"
#include "apps/eval/metrics.h"
#include "apps/language/open_language_model.h"
#include "apps/progress.h"
#include "apps/spool.h"
#include "kernels/check.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/sha256.h"
#include "tokenizers/word_table.h"

namespace lexel::cli {
namespace {

using nlohmann::ordered_json;

// The paper's columns.
constexpr PromptSetting kSettings[] = {{false, 1, 1}, {true, 1, 1}, {true, 3, 1},
                                       {true, 5, 1},  {true, 1, 3}, {true, 1, 5}};

/// Pictures as an evaluation shows them.
struct Shown {
  std::vector<std::string> labels;
  std::vector<std::vector<std::string>> words;
  std::vector<std::vector<std::string>> caption_words;  // empty where a picture has none
};

Shown show(const std::vector<WordedPicture>& pictures) {
  Shown shown;
  bool captions = true;
  for (const WordedPicture& picture : pictures) {
    shown.labels.push_back(picture.label);
    shown.words.push_back(picture.words);
    shown.caption_words.push_back(picture.caption_words);
    captions = captions && !picture.caption_words.empty();
  }
  if (!captions) shown.caption_words.clear();
  return shown;
}

/// How often each kind of answer was right.
using Counts = std::vector<std::pair<std::string, int64_t>>;

void count(Counts& counts, const std::string& name, bool right) {
  const auto found = std::ranges::find(counts, name, &Counts::value_type::first);
  if (found == counts.end()) {
    counts.emplace_back(name, right);
  } else {
    found->second += right;
  }
}

Counts run_setting(const std::vector<spae::Episode>& episodes, const Shown& shown,
                   const PromptSetting& setting, ar::LanguageModel& model,
                   const std::optional<WordVectors>& vectors,
                   const std::function<void()>& on_episode) {
  Counts counts;
  for (const spae::Episode& episode : episodes) {
    const auto ask = [&](const std::string& source,
                         const std::vector<std::vector<std::string>>& words) {
      const ModelAnswers answers = ask_model(model, episode, words, shown.labels, setting);
      count(counts, source + ", raw", answers.raw == episode.answer);
      count(counts, source + ", calibrated", answers.calibrated == episode.answer);
      count(counts, source + ", decoded", answers.decoded == episode.answer);
    };
    ask("words", shown.words);
    if (vectors) {
      count(counts, "words, nearest class mean",
            vectors->nearest_class_mean(episode, shown.words, shown.labels) == episode.answer);
      count(counts, "words, nearest label",
            vectors->nearest_label(episode, shown.words) == episode.answer);
    }
    if (!shown.caption_words.empty()) {
      ask("true words", shown.caption_words);
      if (vectors) {
        count(counts, "true words, nearest class mean",
              vectors->nearest_class_mean(episode, shown.caption_words, shown.labels) ==
                  episode.answer);
      }
    }
    on_episode();
  }
  return counts;
}

std::string title(const PromptSetting& setting) {
  std::ostringstream out;
  out << (setting.induction ? "" : "no induction, ") << setting.shots
      << (setting.shots == 1 ? " shot" : " shots");
  if (setting.repeats > 1) out << " x " << setting.repeats;
  return out.str();
}

ordered_json report_setting(const PromptSetting& setting, int64_t ways, int64_t episodes,
                            const Counts& counts) {
  ordered_json accuracy;
  for (const auto& [name, right] : counts) {
    const eval::Interval interval = eval::wilson_interval(right, episodes);
    accuracy[name] = {{"value", interval.estimate}, {"low", interval.low}, {"high", interval.high}};
  }
  return {{"ways", ways},
          {"induction", setting.induction},
          {"shots", setting.shots},
          {"repeats", setting.repeats},
          {"setting", title(setting)},
          {"episodes", episodes},
          {"chance", 1.0 / static_cast<double>(ways)},
          {"accuracy", accuracy}};
}

std::string table(const ordered_json& report) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(2) << report["language model"].get<std::string>() << " on "
      << report["pictures"] << " pictures of " << report["concepts"] << " concepts (set "
      << report["set SHA-256"].get<std::string>().substr(0, 12) << "), " << report["episodes"]
      << " episodes a setting\n";
  for (const ordered_json& setting : report["settings"]) {
    out << "  " << setting["ways"] << "-way, " << setting["setting"].get<std::string>()
        << "; chance " << setting["chance"].get<double>() << "\n";
    for (const auto& [name, value] : setting["accuracy"].items()) {
      out << "    " << std::left << std::setw(34) << name << std::right
          << value["value"].get<double>() << "  [" << value["low"].get<double>() << ", "
          << value["high"].get<double>() << "]\n";
    }
  }
  for (const ordered_json& skipped : report["skipped"])
    out << "  skipped: " << skipped.get<std::string>() << "\n";
  return out.str();
}

}  // namespace

int run_eval_fewshot(const EvalFewshotOptions& options) {
  const std::vector<WordedPicture> pictures =
      read_worded_pictures(options.words, options.words_per_picture);
  const Shown shown = show(pictures);
  const std::vector<uint8_t> file = read_file(options.words, int64_t{1} << 28);
  std::map<std::string, int64_t> pictures_of;
  for (const std::string& label : shown.labels) ++pictures_of[label];

  // Episodes of all settings before anything slow, so that too few pictures are noticed at once.
  struct Job {
    PromptSetting setting;
    int64_t ways;
    std::vector<spae::Episode> episodes;
  };
  std::vector<Job> jobs;
  ordered_json skipped = ordered_json::array();
  for (const int64_t ways : options.ways) {
    for (const PromptSetting& setting : kSettings) {
      const int64_t usable = std::ranges::count_if(
          pictures_of, [&](const auto& of) { return of.second > setting.shots; });
      if (usable < ways) {
        skipped.push_back(concat(ways, "-way, ", title(setting), ": ", usable, " concepts have ",
                                 setting.shots + 1, " pictures"));
        continue;
      }
      jobs.push_back(
          {setting, ways,
           spae::make_episodes(shown.labels, {.ways = ways,
                                              .shots = setting.shots,
                                              .count = options.episodes,
                                              .seed = static_cast<uint64_t>(options.seed)})});
    }
  }
  check(!jobs.empty(), ErrorKind::kUsage, options.words,
        ": no setting has pictures enough; 2-way, 1-shot needs two concepts with two pictures");

  std::optional<WordVectors> vectors;
  if (!options.word_table.empty()) {
    const WordTableFile words = read_word_table(options.word_table);
    vectors.emplace(words.table.words, words.table.vectors);
  }
  const auto model = open_language_model(options.language_model);

  const auto start = std::chrono::steady_clock::now();
  const auto total = static_cast<int64_t>(jobs.size()) * options.episodes;
  Progress progress("lexel eval", total, "episodes", options.quiet);
  int64_t done = 0;
  ordered_json settings = ordered_json::array();
  for (const Job& job : jobs) {
    const Counts counts = run_setting(job.episodes, shown, job.setting, *model, vectors,
                                      [&] { progress.update(++done); });
    settings.push_back(report_setting(job.setting, job.ways, options.episodes, counts));
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;

  const ordered_json report = {
      {"words", options.words},
      {"set SHA-256", sha256(file.data(), file.size())},
      {"pictures", pictures.size()},
      {"concepts", pictures_of.size()},
      {"words a picture, at most", options.words_per_picture},
      {"language model", model->name()},
      {"precision", options.language_model.precision},
      {"word table", options.word_table},
      {"episodes", options.episodes},
      {"seed", options.seed},
      {"seconds", seconds.count()},
      {"recipe",
       {{"raw",
         "the class of the largest mean ln p over the tokens of its name and the line's end"},
        {"calibrated", "the same minus that of the query \"thing\""},
        {"decoded", "greedy decoding, each token one that a class name has there"},
        {"nearest class mean", "cosine of mean word vectors, shots against query"},
        {"nearest label", "cosine of the query's mean word vector and the class name's"},
        {"intervals", "95 %, Wilson"}}},
      {"settings", settings},
      {"skipped", skipped}};
  if (!options.output.empty()) write_file(options.output, report.dump(2) + "\n");
  write_stdout(table(report));
  return 0;
}

}  // namespace lexel::cli
