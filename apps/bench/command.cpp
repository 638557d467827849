#include "apps/bench/command.h"

#include <set>

#include "apps/command_line.h"

namespace lexel::cli {
namespace {

void add_shared_options(CLI::App& suite, bench::BenchOptions& options) {
  suite.add_option("--case", options.only, "Only the cases whose name holds this text")
      ->option_text("TEXT");
  suite.add_option("--threads", options.threads, "Threads of the CPU kernels (0: one a core)")
      ->check(CLI::Range(int64_t{0}, int64_t{1024}))
      ->option_text("N [0]");
  suite.add_option("--rounds", options.rounds, "Rounds over all contenders of a case")
      ->check(CLI::Range(int64_t{1}, int64_t{1000}))
      ->option_text("N [5]");
  suite
      .add_option("--json", options.json,
                  "Also write the numbers as JSON; - is stdout, without the table")
      ->option_text("FILE");
  suite.add_flag("--markdown", options.markdown, "The table as Markdown");
  suite.add_flag("--list", options.list, "Only list the cases");
  add_quiet_option(suite, options.quiet);
}

}  // namespace

CLI::App* define_bench(CLI::App& lexel, bench::BenchOptions& options) {
  CLI::App* bench = lexel.add_subcommand("bench", "Measure this machine beside other libraries");
  bench->require_subcommand(1);
  CLI::App* kernels = bench->add_subcommand(
      "kernels", "Each kernel beside what LibTorch offers: times, ratio, share of the machine");
  const std::set<std::string> names(bench::kKernelNames.begin(), bench::kKernelNames.end());
  kernels
      ->add_option("--kernel", options.kernels,
                   "One kernel; may be given several times (default: all)")
      ->check(CLI::IsMember(names))
      ->expected(1)
      ->take_all()
      ->option_text("NAME");
  kernels->add_option("--device", options.device, "cpu, cuda or cuda:N")
      ->option_text("DEVICE [cpu]");
  add_shared_options(*kernels, options);
  kernels->footer(
      "Results are compared before anything is timed; a kernel that is wrong ends in exit code 1.\n"
      "With --threads 1 the time is the thread's CPU time, which other programs disturb little; "
      "else "
      "wall time.\n"
      "Example: lexel bench kernels --kernel codebook_lookup --threads 1");
  CLI::App* generator = bench->add_subcommand(
      "generator",
      "Pictures drawn token by token, beside the same weights run eagerly in LibTorch");
  add_shared_options(*generator, options);
  generator->callback([&options] { options.generator = true; });
  generator->footer(
      "The shipped generator's shape with fresh weights, int8, on the CPU. Ratios hold for one "
      "run; the last lines say\n"
      "how the time of a token grows with its position. Example: lexel bench generator --threads "
      "2");
  return bench;
}

}  // namespace lexel::cli
