#pragma once

#include <functional>
#include <string>
#include <vector>

#include "apps/train/optimizer.h"
#include "apps/train/task_options.h"
#include "autoregressive/parallel/mesh.h"
#include "autoregressive/parallel/trace.h"

namespace lexel::train {

/// The ranks of this run as the command line lays them out: by default all of them along "data".
/// throws   Error(kUsage) a mesh of another number of ranks; Error(kIo) ranks that did not come
parallel::Mesh mesh_of(const cli::TrainTaskOptions& options);

/// All ranks run the same program with the same recipe on the same data.
/// throws   Error(kUsage) on every rank, naming those that differ
void check_same_run(const parallel::Mesh& mesh, const std::string& recipe, const std::string& data);

/// Norms over all ranks. The mesh must outlive the result.
NormSum norm_over(parallel::Mesh& mesh);

/// Means over all ranks, in place: what the log says.
void average_over(parallel::Mesh& mesh, std::vector<double>& values);

/// Rank 0's clock, and whether any rank was asked to stop: what all ranks go by.
struct Agreement {
  double elapsed_s = 0.0;
  bool stop = false;
};
Agreement agree(parallel::Mesh& mesh, double elapsed_s, bool stop);

/// All ranks' events as one timeline, written by the first.
void write_trace(const parallel::Mesh& mesh, const std::vector<parallel::TraceEvent>& events,
                 const std::string& path);

/// Runs `body`; what it throws is told to the other ranks before it goes on.
void tell_others_of_failure(const parallel::Mesh& mesh, const std::function<void()>& body);

}  // namespace lexel::train
