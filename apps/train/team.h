#pragma once

#include <map>
#include <string>
#include <vector>

#include "apps/train/optimizer.h"
#include "apps/train/task_options.h"
#include "autoregressive/parallel/mesh.h"
#include "autoregressive/parallel/timeline.h"

namespace lexel::train {

/// The device of this process: of several GPUs of a host, each rank's own.
/// throws   Error(kUsage) as resolve_device(), or more ranks on this host than GPUs
at::Device device_of_rank(const std::string& name, const parallel::World& world);

/// The world that a launcher started this run in.
/// throws   Error(kUsage) on a timeout that cannot be; as parallel::world_from_environment
parallel::World world_of(const cli::TrainTaskOptions& options);

/// Its ranks as the command line lays them out: by default all of them along "data"; on GPUs they talk over NCCL.
/// throws   Error(kUsage) a mesh of another number of ranks
parallel::Mesh mesh_of(const cli::TrainTaskOptions& options, const parallel::World& world);

/// All ranks run the same program with the same recipe on the same data.
/// throws   Error(kUsage) on every rank, naming those that differ
void check_same_run(const parallel::Mesh& mesh, const std::string& recipe, const std::string& data);

/// Norms over all ranks. The mesh must outlive the result.
NormSum norm_over(parallel::Mesh& mesh);

/// Sums over the ranks of a group, in place.
void sum_over(parallel::Group& group, std::vector<double>& values);

/// Means over all ranks, in place: what the log says.
void average_over(parallel::Mesh& mesh, std::vector<double>& values);
/// The same of a step's loss terms, whose names are those of all ranks.
void average_over(parallel::Mesh& mesh, std::map<std::string, double>& terms);

/// Rank 0's clock, and whether any rank was asked to stop: what all ranks go by.
struct Agreement {
  double elapsed_s = 0.0;
  bool stop = false;
};
Agreement agree(parallel::Mesh& mesh, double elapsed_s, bool stop);

/// All ranks' timelines as one, written by the first: a picture where the name ends in .svg, else JSON of chrome's traces.
void write_trace(const parallel::Mesh& mesh, const parallel::Timeline& timeline,
                 const std::string& path);

}  // namespace lexel::train
