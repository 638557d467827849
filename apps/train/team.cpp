#include "apps/train/team.h"

#include <ATen/ops/tensor.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>

#include "apps/train/timeline_chart.h"
#include "kernels/check.h"
#include "kernels/device.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/sha256.h"

namespace lexel::train {
namespace {

std::string short_sum(const std::string& text) {
  return sha256(text.data(), text.size()).substr(0, 12);
}

}  // namespace

void sum_over(parallel::Group& group, std::vector<double>& values) {
  if (group.size() == 1) return;
  at::Tensor sums = at::tensor(values, at::kDouble).to(group.device());
  group.all_reduce(sums);
  sums = sums.cpu();
  values.assign(sums.const_data_ptr<double>(), sums.const_data_ptr<double>() + sums.numel());
}

at::Device device_of_rank(const std::string& name, const parallel::World& world) {
  const at::Device device = resolve_device(name);
  if (device.is_cpu() || world.size == 1) return device;
  const int64_t gpus = c10::impl::VirtualGuardImpl(device.type()).deviceCount();
  check(world.local_rank < gpus, ErrorKind::kUsage, "--device ", name, ": rank ", world.rank,
        " is number ", world.local_rank, " of its host, which has ", gpus,
        gpus == 1 ? " GPU" : " GPUs", ": start fewer ranks, or use --device cpu");
  return at::Device(device.type(), static_cast<at::DeviceIndex>(world.local_rank));
}

parallel::World world_of(const cli::TrainTaskOptions& options) {
  check(options.timeout > 0, ErrorKind::kUsage, "--timeout: expected seconds above 0, got ",
        options.timeout);
  const auto timeout = std::chrono::milliseconds(static_cast<int64_t>(options.timeout * 1000.0));
  return parallel::world_from_environment(timeout);
}

parallel::Mesh mesh_of(const cli::TrainTaskOptions& options, const parallel::World& world) {
  const std::string text =
      options.mesh.empty() && !world.launcher.empty() ? concat("data=", world.size) : options.mesh;
  return parallel::Mesh(world, parallel::parse_mesh(text), device_of_rank(options.device, world));
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
    sum_over(mesh.everyone(), values);
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
  sum_over(mesh.everyone(), values);
  for (double& value : values) value /= static_cast<double>(mesh.world().size);
}

void average_over(parallel::Mesh& mesh, std::map<std::string, double>& terms) {
  std::vector<double> values;
  for (const auto& [name, value] : terms) values.push_back(value);
  average_over(mesh, values);
  size_t next = 0;
  for (auto& [name, value] : terms) value = values[next++];
}

Agreement agree(parallel::Mesh& mesh, double elapsed_s, bool stop) {
  std::vector<double> values{mesh.world().rank == 0 ? elapsed_s : 0.0, stop ? 1.0 : 0.0};
  sum_over(mesh.everyone(), values);
  return {values[0], values[1] > 0.0};
}

void write_trace(const parallel::Mesh& mesh, const parallel::Timeline& timeline,
                 const std::string& path) {
  auto own = nlohmann::json::array();
  for (const parallel::TraceEvent& e : timeline.events())
    own.push_back({e.name, e.category, e.rank, e.lane, e.begin_us, e.end_us});
  const auto all = parallel::exchange(mesh.world(), "trace", own.dump());
  if (mesh.world().rank != 0) return;
  std::vector<parallel::TraceEvent> events;
  for (const std::string& text : all)
    for (const auto& e : nlohmann::json::parse(text))
      events.push_back({e.at(0), e.at(1), e.at(2), e.at(3), e.at(4), e.at(5)});
  if (path.ends_with(".svg")) {
    write_file(path, timeline_chart(events));
  } else {
    parallel::write_chrome_trace(path, events);
  }
}

}  // namespace lexel::train
