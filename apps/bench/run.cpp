#include "apps/bench/run.h"

#include <ATen/Context.h>
#include <algorithm>
#include <ctime>
#include <exception>

#include "apps/bench/ceilings.h"
#include "apps/bench/measure.h"
#include "kernels/check.h"

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

Row run_case(const Case& one, at::Device device, int64_t rounds) {
  Row row;
  row.kernel = one.kernel;
  row.name = one.name;
  row.ceiling = one.ceiling;
  row.work = one.work;
  try {
    at::manual_seed(1);  // LibTorch's own first seed is drawn
    const Runs runs = one.prepare();
    row.checked = runs.check();
    row.timings = measure(runs, one.ceiling, device, rounds);
    row.error = row.timings.front().error;
  } catch (const std::exception& error) {
    const std::string text = error.what();
    row.error = text.substr(0, text.find('\n'));
  }
  return row;
}

}  // namespace

Report run_cases(const std::vector<Case>& cases, at::Device device, int64_t rounds,
                 const std::function<void(size_t)>& before) {
  Report report;
  report.machine = cli::describe_machine();
  report.device = device.str();
  report.date = today();
  if (device.is_cuda()) report.gpu = kernels::describe_gpu(device);
  for (size_t i = 0; i < cases.size(); ++i) {
    before(i);
    if (!report.ceilings.contains(cases[i].ceiling)) {
      report.ceilings[cases[i].ceiling] = measure_ceiling(cases[i].ceiling, device);
    }
    report.rows.push_back(run_case(cases[i], device, rounds));
  }
  // Once more: on a machine with other work, one of two moments is the better.
  for (auto& [ceiling, rate] : report.ceilings) {
    rate = std::max(rate, measure_ceiling(ceiling, device));
  }
  return report;
}

std::string first_failure(const Report& report) {
  for (const Row& row : report.rows) {
    if (!row.error.empty()) return concat(row.kernel, ", ", row.name, ": ", row.error);
  }
  return "";
}

}  // namespace lexel::bench
