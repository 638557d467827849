#include "apps/bench/command.h"
#include "apps/command_line.h"
#include "apps/data/command.h"
#include "apps/eval/command.h"
#include "apps/language/command.h"
#include "apps/launch/command.h"
#include "apps/plan/command.h"
#include "apps/programs.h"
#include "apps/train/command.h"
#include "apps/words/command.h"

namespace lexel::cli {
namespace {

void define_info(CLI::App& app, InfoOptions& options) {
  CLI::App* info =
      app.add_subcommand("info", "Say in words what a model, token file, checkpoint or picture is");
  CLI::Option* files =
      info->add_option("files", options.files, "Files to explain")->option_text("FILE...");
  info->add_flag("--machine", options.machine,
                 "This machine, and which code each kernel runs on it")
      ->excludes(files);
  info->add_flag("--json", options.json, "As JSON, for programs");
  info->callback([&options] {
    if (options.files.empty() && !options.machine) throw CLI::RequiredError("FILE or --machine");
  });
  info->footer("Example: lexel info assets/lexel-128.safetensors photo.tok.safetensors");
}

void define_import(CLI::App& app, ImportOptions& options) {
  CLI::App* import =
      app.add_subcommand("import", "Turn a public checkpoint into a Lexel model file");
  import->add_option("input", options.input, "Checkpoint: .safetensors, .ckpt, .pth, .pt")
      ->required()
      ->option_text("CHECKPOINT");
  import->add_option("output", options.output, "Model file to write")
      ->required()
      ->option_text("OUTPUT");
  import->add_option("--heads", options.heads, "Attention heads, where shapes cannot tell")
      ->check(CLI::Range(int64_t{1}, int64_t{256}))
      ->option_text("N");
  import->footer(
      "No pickle is executed: a checkpoint that asks for more than tensors is refused.\n"
      "Example: lexel import vitvqgan-small.ckpt vitvqgan-small.safetensors");
}

void define_extract_task(CLI::App& app, ExtractTaskOptions& options) {
  CLI::App* extract = app.add_subcommand(
      "extract-task",
      "Of a generator with experts routed by task: one task's part, as a dense model");
  extract->add_option("-m,--model", options.model, "Generator trained with model.routing=task")
      ->required()
      ->option_text("FILE");
  extract->add_option("--task", options.task, "Number of the task, from 0")
      ->required()
      ->option_text("N");
  extract->add_option("-o,--output", options.output, "Model file to write")
      ->required()
      ->option_text("FILE");
  extract->add_option("--weights", options.weights, "Matrices in it: fp32, bf16 or int8")
      ->check(CLI::IsMember({"fp32", "bf16", "int8"}))
      ->capture_default_str()
      ->option_text("NAME");
  extract->footer(
      "Example: lexel extract-task --model moe.safetensors --task 1 -o dense.safetensors");
}

void define_heatmap(CLI::App& app, HeatmapOptions& options) {
  CLI::App* heatmap =
      app.add_subcommand("heatmap", "How likely each token of a picture is under a caption");
  heatmap->add_option("picture", options.picture, "Picture (its centre square)")
      ->required()
      ->option_text("PICTURE");
  heatmap->add_option("--caption", options.caption, "What it shows (default: nothing)")
      ->option_text("TEXT");
  heatmap
      ->add_option("-o,--output", options.output,
                   "Picture to write: the likelihoods over the picture")
      ->option_text("FILE");
  heatmap->add_option("-m,--model", options.model, "Generator (default: the shipped parti-128)")
      ->option_text("FILE");
  heatmap
      ->add_option("--tokenizer", options.tokenizer,
                   "Picture tokenizer it was trained with (default: the shipped lexel-128)")
      ->option_text("FILE");
  add_device_option(*heatmap, options.device);
  heatmap->add_flag("--json", options.json, "All numbers on stdout, as JSON");
  heatmap->footer("Example: lexel heatmap fish.png --caption \"a red fish\" -o heat.png");
}

}  // namespace
}  // namespace lexel::cli

int main(int argc, char** argv) {
  using namespace lexel::cli;
  InfoOptions info;
  HeatmapOptions heatmap;
  WordsOptions words;
  DrawOptions draw;
  ImportOptions import;
  LaunchOptions launch;
  ExtractTaskOptions extract_task;
  PlanOptions plan;
  lexel::bench::BenchOptions bench;
  DataCommands data;
  EvalCommands eval;
  TrainCommands train;
  train.tokenizer.command = "lexel";  // wherever it lies
  for (int i = 1; i < argc; ++i) train.tokenizer.command += " " + std::string(argv[i]);
  train.generator.task.command = train.detector.task.command = train.upsampler.task.command =
      train.scorer.task.command = train.guide.task.command = train.spae.task.command =
          train.tokenizer.command;
  CLI::App* parsed = nullptr;
  const auto define = [&](CLI::App& app) {
    parsed = &app;
    app.require_subcommand(1);
    define_data(app, data);
    define_train(app, train);
    define_eval(app, eval);
    define_info(app, info);
    define_heatmap(app, heatmap);
    define_words(app, words);
    define_draw(app, draw);
    define_launch(app, launch);
    define_plan(app, plan);
    define_import(app, import);
    define_extract_task(app, extract_task);
    define_bench(app, bench);
    app.footer(
        "lexel COMMAND --help explains a command. Example: lexel info photo.tok.safetensors");
  };
  const auto run = [&] {
    const std::string command = parsed->get_subcommands().front()->get_name();
    if (command == "bench") return run_bench(bench);
    const Programs& programs = load_programs();
    if (command == "data") {
      const CLI::App* chosen = parsed->get_subcommand("data");
      if (chosen->got_subcommand("compose")) return programs.data_compose(data.compose);
      const bool fetch = chosen->got_subcommand("fetch");
      return fetch ? programs.data_fetch(data.fetch) : programs.data_list(data.fetch);
    }
    if (command == "train") {
      const CLI::App* chosen = parsed->get_subcommand("train");
      if (chosen->got_subcommand("text")) return programs.train_text(train.text);
      if (chosen->got_subcommand("generator")) {
        if (train.generator.tokenizer.empty()) train.generator.tokenizer = default_model_path();
        return programs.train_generator(train.generator);
      }
      if (chosen->got_subcommand("detector")) {
        if (train.detector.tokenizer.empty()) train.detector.tokenizer = default_model_path();
        return programs.train_detector(train.detector);
      }
      if (chosen->got_subcommand("upsampler")) {
        if (train.upsampler.tokenizer.empty()) train.upsampler.tokenizer = default_model_path();
        return programs.train_upsampler(train.upsampler);
      }
      if (chosen->got_subcommand("scorer")) {
        if (train.scorer.tokenizer.empty()) train.scorer.tokenizer = default_model_path();
        return programs.train_scorer(train.scorer);
      }
      if (chosen->got_subcommand("guide")) {
        if (train.guide.words.empty()) train.guide.words = shipped_file("words-llama.safetensors");
        if (train.guide.classes.empty())
          train.guide.classes = shipped_file("imagenet-classes.safetensors");
        return programs.train_guide(train.guide);
      }
      if (chosen->got_subcommand("spae")) {
        if (train.spae.words.empty()) train.spae.words = shipped_file("words-llama.safetensors");
        return programs.train_spae(train.spae);
      }
      if (chosen->got_subcommand("pack")) return programs.train_pack(train.pack);
      if (chosen->got_subcommand("results")) return programs.train_results(train.results);
      return programs.train_tokenizer(train.tokenizer);
    }
    if (command == "eval") {
      if (parsed->get_subcommand("eval")->got_subcommand("spae-fewshot")) {
        if (eval.fewshot.language_model.source.empty())
          eval.fewshot.language_model.source = kFetchedLanguageModel;
        if (eval.fewshot.word_table.empty())
          eval.fewshot.word_table = shipped_file("words-llama.safetensors");
        return programs.eval_fewshot(eval.fewshot);
      }
      if (parsed->get_subcommand("eval")->got_subcommand("generator")) {
        if (eval.generator.model.empty()) eval.generator.model = default_generator_path();
        if (eval.generator.tokenizer.empty()) eval.generator.tokenizer = default_model_path();
        if (eval.generator.detector.empty())
          eval.generator.detector = shipped_file("detector-128.safetensors");
        return programs.eval_generator(eval.generator);
      }
      if (parsed->get_subcommand("eval")->got_subcommand("probe")) {
        if (eval.probe.tokenizer.empty()) eval.probe.tokenizer = default_model_path();
        return programs.eval_probe(eval.probe);
      }
      if (parsed->get_subcommand("eval")->got_subcommand("spae")) {
        eval.spae.model = model_path(eval.spae.model);
        if (eval.spae.words.empty()) eval.spae.words = shipped_file("words-llama.safetensors");
        return programs.eval_spae(eval.spae);
      }
      if (parsed->get_subcommand("eval")->got_subcommand("words")) {
        if (eval.words.table.empty()) eval.words.table = shipped_file("words-llama.safetensors");
        return programs.eval_words(eval.words);
      }
      if (parsed->get_subcommand("eval")->got_subcommand("upsampler")) {
        eval.upsampler.model =
            eval.upsampler.model.empty() ? default_model_path() : model_path(eval.upsampler.model);
        return programs.eval_upsampler(eval.upsampler);
      }
      eval.tokenizer.model =
          eval.tokenizer.model.empty() ? default_model_path() : model_path(eval.tokenizer.model);
      return programs.eval_tokenizer(eval.tokenizer);
    }
    if (command == "heatmap") {
      if (heatmap.model.empty()) heatmap.model = default_generator_path();
      if (heatmap.tokenizer.empty()) heatmap.tokenizer = default_model_path();
      return programs.heatmap(heatmap);
    }
    if (command == "words") {
      words.model = words.model.empty() ? default_words_path() : model_path(words.model);
      return programs.words(words);
    }
    if (command == "draw") {
      draw.model = draw.model.empty() ? default_words_path() : model_path(draw.model);
      if (draw.language_model.source.empty()) draw.language_model.source = kFetchedLanguageModel;
      return programs.draw(draw);
    }
    if (command == "launch") return programs.launch(launch);
    if (command == "extract-task") return programs.extract_task(extract_task);
    if (command == "plan") return programs.plan(plan);
    return command == "info" ? programs.info(info) : programs.import(import);
  };
  return run_command_line("lexel", "COMMAND [OPTIONS] ...",
                          "Train, evaluate and look into Lexel's models.", argc, argv, define, run);
}
