#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "apps/language/draw_words.h"
#include "apps/language/open_language_model.h"
#include "apps/progress.h"
#include "apps/spool.h"
#include "apps/words/word_tokenizer.h"
#include "apps/words/words.h"
#include "kernels/check.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/contact_sheet.h"
#include "tokenizers/io/picture_source.h"

namespace lexel::cli {
namespace {

using spae::WordTask;
using Words = std::vector<std::string>;

/// The tokenizer, cut to its upper layers, between pictures and words.
class WordPainter {
 public:
  WordPainter(const std::string& model, const std::string& device, int64_t layers)
      : tokenizer_(load_word_tokenizer(model, device)) {
    const TokenizerInfo& info = tokenizer_->info();
    const auto all = static_cast<int64_t>(info.layer_sides.size());
    check_arg(layers <= all, "--layers", "expected 1 to ", all, ", got ", layers);
    sides_.assign(info.layer_sides.begin(), info.layer_sides.begin() + layers);
    for (size_t id = 0; id < info.words.size(); ++id)
      ids_[info.words[id]] = static_cast<int64_t>(id);
  }

  const std::vector<int64_t>& sides() const { return sides_; }
  const Words& codebook() const { return tokenizer_->info().words; }

  Words words(const Image& image) const {
    Words result = words_of_square(*tokenizer_, word_square(*tokenizer_, image));
    result.resize(static_cast<size_t>(spae::num_words(sides_)));
    return result;
  }

  Image picture(const Words& words) const {
    at::Tensor ids = at::empty({1, static_cast<int64_t>(words.size())}, at::kLong);
    for (size_t n = 0; n < words.size(); ++n)
      ids.mutable_data_ptr<int64_t>()[n] = ids_.at(words[n]);
    return to_image(tokenizer_->decode(ids)[0]);
  }

 private:
  std::unique_ptr<ImageTokenizer> tokenizer_;
  std::vector<int64_t> sides_;
  std::map<std::string, int64_t> ids_;
};

struct Example {
  Words words;
  std::string caption;
};

std::vector<Example> read_examples(const DrawOptions& options, const WordPainter& painter) {
  std::vector<Example> examples;
  PictureSource source(options.examples);
  for (PictureBytes picture;
       static_cast<int64_t>(examples.size()) < options.example_count && source.next(picture);) {
    Example& example = examples.emplace_back();
    example.words =
        painter.words(decode_image(picture.data.data(), picture.data.size(), picture.name));
    if (options.task != "caption") continue;
    const auto about = nlohmann::json::parse(picture.json, nullptr, /*allow_exceptions=*/false);
    const bool told = about.is_object() && about.contains("caption") &&
                      about["caption"].is_string() &&
                      !about["caption"].get_ref<const std::string&>().empty();
    check(told, ErrorKind::kUsage, picture.name,
          ": expected a caption beside it (a .json member with \"caption\"), got none");
    example.caption = about["caption"].get<std::string>();
  }
  check(!examples.empty(), ErrorKind::kUsage, "--examples: expected a picture, got none");
  return examples;
}

/// What is asked for: the pairs, the question, and the answer where it is known.
struct Question {
  WordDrawing drawing;
  Words meant;  // empty: nobody knows
};

Question ask_for_caption(const DrawOptions& options, const std::vector<Example>& examples) {
  check(!options.caption.empty() && options.picture.empty(), ErrorKind::kUsage,
        "task caption: expected --caption and no picture");
  Question question;
  for (const Example& example : examples)
    question.drawing.examples.push_back({{}, example.caption, example.words});
  question.drawing.query = {{}, options.caption, {}};
  return question;
}

Question ask_of_picture(const DrawOptions& options, const std::vector<Example>& examples,
                        const WordPainter& painter) {
  check(options.caption.empty() && !options.picture.empty(), ErrorKind::kUsage, "task ",
        options.task, ": expected a picture and no --caption");
  // The picture is one more pair, whose output is not shown: so its input is changed as the examples' are.
  std::vector<Words> pictures;
  for (const Example& example : examples) pictures.push_back(example.words);
  pictures.push_back(painter.words(read_image(options.picture)));
  const WordTask task = spae::word_task(options.task);
  Question question;
  question.drawing.examples =
      spae::task_pairs(task, pictures, painter.sides(), painter.codebook(), options.seed);
  question.drawing.query = question.drawing.examples.back();
  question.drawing.examples.pop_back();
  question.meant = std::move(question.drawing.query.output);
  question.drawing.query.output.clear();
  if (task == WordTask::kInpaint || task == WordTask::kOutpaint) {
    for (const bool hidden : spae::hidden_places(task, painter.sides()))
      question.drawing.kept.push_back(!hidden);
  }
  return question;
}

/// "12 of 21 words are those that were meant; 15 of the input's are".
std::string comparison(const Question& question, const Words& drawn) {
  if (question.meant.empty()) return "";
  const Words& given = question.drawing.query.input;
  int64_t right = 0, copied = 0;
  for (size_t n = 0; n < drawn.size(); ++n) {
    right += drawn[n] == question.meant[n];
    copied += given[n] == question.meant[n];
  }
  return concat(right, " of ", drawn.size(), " words are those that were meant; ", copied,
                " of the input's are\n");
}

void write_sheet(const std::string& path, const WordPainter& painter, const Question& question,
                 const Words& drawn) {
  std::vector<Image> row;
  std::vector<std::string> titles;
  const auto add = [&](const std::string& title, const Words& words) {
    if (words.empty()) return;
    row.push_back(painter.picture(words));
    titles.push_back(title);
  };
  Words given = question.drawing.query.input;
  for (std::string& word : given)
    if (word.empty()) word = painter.codebook().front();  // hidden: any word, the same everywhere
  add("given", given);
  add("drawn", drawn);
  add("meant", question.meant);
  write_image(path, contact_sheet({row}, titles));
}

}  // namespace

int run_draw(const DrawOptions& options) {
  {
    const AtomicFile trial(options.output);
  }  // what cannot be written is found out before the work
  const WordPainter painter(options.model, options.device, options.layers);
  const std::vector<Example> examples = read_examples(options, painter);
  Question question = options.task == "caption" ? ask_for_caption(options, examples)
                                                : ask_of_picture(options, examples, painter);
  const int64_t parallel =
      options.parallel_layer == 0 ? options.layers - 1 : options.parallel_layer - 1;
  question.drawing.plan = spae::progressive_plan(painter.sides(), options.words_per_pass,
                                                 std::min(parallel, options.layers));
  question.drawing.codebook = painter.codebook();
  question.drawing.context = options.context;
  const auto model = open_language_model(options.language_model);
  Progress progress("lexel draw", spae::num_words(painter.sides()), "words", options.quiet);
  const Words drawn =
      draw_words(*model, question.drawing, [&](int64_t words) { progress.update(words); });
  write_image(options.output, painter.picture(drawn));
  if (!options.sheet.empty()) write_sheet(options.sheet, painter, question, drawn);
  write_stdout(word_table(drawn, painter.sides(), options.layers) + comparison(question, drawn));
  return 0;
}

}  // namespace lexel::cli
