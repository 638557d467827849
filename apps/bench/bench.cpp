// liblexel_bench.so: `lexel bench`, apart from the programs' library so that they do not load Google Benchmark.

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <chrono>
#include <ctime>
#include <exception>
#include <memory>

#include "apps/bench/cases.h"
#include "apps/bench/ceilings.h"
#include "apps/bench/measure.h"
#include "apps/bench/options.h"
#include "apps/bench/report.h"
#include "apps/guarded.h"
#include "apps/progress.h"
#include "apps/spool.h"
#include "kernels/check.h"
#include "kernels/device.h"
#include "tokenizers/io/atomic_file.h"

namespace lexel::bench {
namespace {

std::string today() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[16];
  std::strftime(text, sizeof text, "%Y-%m-%d", &utc);
  return text;
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

/// Makes the case's tensors, compares, then times; a failure stays in the row, so that the other cases go on.
Row run_case(const Case& one, at::Device device, int64_t rounds) {
  Row row;
  row.kernel = one.kernel;
  row.name = one.name;
  row.ceiling = one.ceiling;
  row.work = one.work;
  try {
    const Runs runs = one.prepare();
    row.checked = runs.check();
    row.timings = measure(runs, one.ceiling, device, rounds);
    row.error = row.timings.front().error;
  } catch (const std::exception& error) {
    row.error = first_line(error.what());
  }
  return row;
}

/// The device of a name, whether this machine has it or not.
at::Device named_device(const std::string& name) {
  return name.starts_with("cuda") ? at::Device(at::kCUDA, 0) : resolve_device(name);
}

int bench_kernels(const BenchOptions& options) {
  // Before the first tensor. A list needs no GPU.
  const at::Device device =
      options.list ? named_device(options.device) : resolve_device(options.device);
  if (options.threads > 0) at::set_num_threads(static_cast<int>(options.threads));
  const std::vector<Case> cases = find_cases(device, options.kernels, options.only);
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
  report.machine = cli::describe_machine();
  report.device = device.str();
  report.date = today();
  if (device.is_cuda()) report.gpu = kernels::describe_gpu(device);
  std::string wrong;
  {
    cli::Progress progress("bench", static_cast<int64_t>(cases.size()), "cases", options.quiet);
    for (const Case& one : cases) {
      progress.update(static_cast<int64_t>(report.rows.size()), concat(one.kernel, " ", one.name));
      if (!report.ceilings.contains(one.ceiling)) {
        report.ceilings[one.ceiling] = measure_ceiling(one.ceiling, device);
      }
      report.rows.push_back(run_case(one, device, options.rounds));
      const Row& row = report.rows.back();
      if (!row.error.empty() && wrong.empty())
        wrong = concat(row.kernel, ", ", row.name, ": ", row.error);
    }
    progress.update(static_cast<int64_t>(report.rows.size()));
  }
  if (options.json != "-")
    cli::write_stdout(options.markdown ? as_markdown(report) : as_text(report));
  if (options.json == "-") {
    cli::write_stdout(as_json(report));
  } else if (json) {
    const std::string text = as_json(report);
    json->write(text.data(), text.size());
    json->commit();
  }
  check(wrong.empty(), ErrorKind::kInternal, wrong);
  return 0;
}

}  // namespace
}  // namespace lexel::bench

extern "C" int lexel_bench_kernels(const lexel::bench::BenchOptions& options);
int lexel_bench_kernels(const lexel::bench::BenchOptions& options) {
  return lexel::cli::guarded("lexel bench kernels",
                             [&] { return lexel::bench::bench_kernels(options); });
}
