#include "apps/train/team.h"

#include <ATen/ops/tensor.h>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>

#include "kernels/check.h"
#include "kernels/device.h"
#include "tokenizers/io/sha256.h"

namespace lexel::train {
namespace {

std::string short_sum(const std::string& text) {
  return sha256(text.data(), text.size()).substr(0, 12);
}

/// Sums over all ranks, in place.
void sum_over(parallel::Mesh& mesh, std::vector<double>& values) {
  if (mesh.world().size == 1) return;
  at::Tensor sums = at::tensor(values, at::kDouble);
  mesh.everyone().all_reduce(sums);
  values.assign(sums.const_data_ptr<double>(), sums.const_data_ptr<double>() + sums.numel());
}

}  // namespace

parallel::Mesh mesh_of(const cli::TrainTaskOptions& options) {
  check(options.timeout > 0, ErrorKind::kUsage, "--timeout: expected seconds above 0, got ",
        options.timeout);
  const auto timeout = std::chrono::milliseconds(static_cast<int64_t>(options.timeout * 1000.0));
  const parallel::World world = parallel::world_from_environment(timeout);
  check(world.size == 1 || resolve_device(options.device).is_cpu(), ErrorKind::kUnsupported,
        "several ranks train on CPUs alone so far; use --device cpu");
  const std::string text =
      options.mesh.empty() && world.size > 1 ? concat("data=", world.size) : options.mesh;
  return parallel::Mesh(world, parallel::parse_mesh(text), at::kCPU);
}

void check_same_run(const parallel::Mesh& mesh, const std::string& recipe,
                    const std::string& data) {
  const parallel::World& world = mesh.world();
  if (world.size == 1) return;
  parallel::check_same_everywhere(world, "program",
                                  concat("Lexel built ", __DATE__, " ", __TIME__));
  parallel::check_same_everywhere(world, "mesh", parallel::to_text(mesh.shape()));
  parallel::check_same_everywhere(world, "recipe (its SHA-256)", short_sum(recipe));
  parallel::check_same_everywhere(world, "data (its fingerprint)", data.substr(0, 12));
}

NormSum norm_over(parallel::Mesh& mesh) {
  if (mesh.world().size == 1) return {};
  NormSum sum;
  sum.over_ranks = [&mesh](double squared, const std::function<std::string()>& own_culprit) {
    std::vector<double> values{squared};
    sum_over(mesh, values);
    if (std::isfinite(values[0])) return values[0];
    const std::vector<std::string> culprits =
        parallel::exchange(mesh.world(), "gradient that is not finite", own_culprit());
    for (size_t rank = 0; rank < culprits.size(); ++rank)
      check(culprits[rank].empty(), ErrorKind::kBadData, "the gradient of ", culprits[rank],
            " is not finite on rank ", rank);
    fail(ErrorKind::kBadData, "the sum of the ranks' gradients is not finite");
  };
  return sum;
}

void average_over(parallel::Mesh& mesh, std::vector<double>& values) {
  sum_over(mesh, values);
  for (double& value : values) value /= static_cast<double>(mesh.world().size);
}

Agreement agree(parallel::Mesh& mesh, double elapsed_s, bool stop) {
  std::vector<double> values{mesh.world().rank == 0 ? elapsed_s : 0.0, stop ? 1.0 : 0.0};
  sum_over(mesh, values);
  return {values[0], values[1] > 0.0};
}

void write_trace(const parallel::Mesh& mesh, const std::vector<parallel::TraceEvent>& events,
                 const std::string& path) {
  auto own = nlohmann::json::array();
  for (const parallel::TraceEvent& e : events)
    own.push_back({e.name, e.category, e.rank, e.lane, e.begin_us, e.end_us});
  const auto all = parallel::exchange(mesh.world(), "trace", own.dump());
  if (mesh.world().rank != 0) return;
  std::vector<parallel::TraceEvent> timeline;
  for (const std::string& text : all)
    for (const auto& e : nlohmann::json::parse(text))
      timeline.push_back({e.at(0), e.at(1), e.at(2), e.at(3), e.at(4), e.at(5)});
  parallel::write_chrome_trace(path, timeline);
}

void tell_others_of_failure(const parallel::Mesh& mesh, const std::function<void()>& body) {
  try {
    body();
  } catch (const std::exception& error) {
    parallel::tell_failure(mesh.world(), error.what());
    throw;
  }
}

}  // namespace lexel::train
