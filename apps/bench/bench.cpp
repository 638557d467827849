// liblexel_bench.so: `lexel bench`, apart from the programs' library so that they do not load Google Benchmark.

#include <ATen/Parallel.h>
#include <memory>

#include "apps/bench/cases.h"
#include "apps/bench/cases/generator.h"
#include "apps/bench/options.h"
#include "apps/bench/report.h"
#include "apps/bench/run.h"
#include "apps/guarded.h"
#include "apps/progress.h"
#include "apps/spool.h"
#include "kernels/check.h"
#include "kernels/device.h"
#include "tokenizers/io/atomic_file.h"

namespace lexel::bench {
namespace {

/// The device of a name, whether this machine has it or not.
at::Device named_device(const std::string& name) {
  return name.starts_with("cuda") ? at::Device(at::kCUDA, 0) : resolve_device(name);
}

int bench(const BenchOptions& options) {
  // Before the first tensor. A list needs no GPU.
  const at::Device device =
      options.list ? named_device(options.device) : resolve_device(options.device);
  if (options.threads > 0) at::set_num_threads(static_cast<int>(options.threads));
  const std::vector<Case> cases = options.generator
                                      ? keep_named(generator_cases(), options.only)
                                      : find_cases(device, options.kernels, options.only);
  if (options.list) {
    std::string names;
    for (const Case& one : cases) names += concat(one.kernel, ": ", one.name, "\n");
    cli::write_stdout(names);
    return 0;
  }

  std::unique_ptr<AtomicFile>
      json;  // opened now: a path that cannot be written should not cost minutes
  if (!options.json.empty() && options.json != "-") {
    json = std::make_unique<AtomicFile>(options.json);
  }
  Report report;
  {
    const auto total = static_cast<int64_t>(cases.size());
    cli::Progress progress("bench", total, "cases", options.quiet);
    report = run_cases(cases, device, options.rounds, [&](size_t i) {
      progress.update(static_cast<int64_t>(i), concat(cases[i].kernel, " ", cases[i].name));
    });
    progress.update(total);
  }
  if (options.json == "-") {
    cli::write_stdout(as_json(report));
  } else {
    cli::write_stdout((options.markdown ? as_markdown(report) : as_text(report)) +
                      (options.generator ? step_times() : ""));
  }
  if (json) {
    const std::string text = as_json(report);
    json->write(text.data(), text.size());
    json->commit();
  }
  const std::string failure = first_failure(report);
  check(failure.empty(), ErrorKind::kInternal, failure);
  return 0;
}

}  // namespace
}  // namespace lexel::bench

extern "C" int lexel_bench(const lexel::bench::BenchOptions& options);
int lexel_bench(const lexel::bench::BenchOptions& options) {
  return lexel::cli::guarded(options.generator ? "lexel bench generator" : "lexel bench kernels",
                             [&] { return lexel::bench::bench(options); });
}
