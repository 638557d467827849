#pragma once

#include "apps/launch/options.h"

namespace lexel::cli {

/// Runs a command as several ranks of this machine, with the environment that torchrun gives (RANK, WORLD_SIZE, LOCAL_RANK,
/// MASTER_ADDR, MASTER_PORT), and waits for all. When one fails its rank and reason go to stderr and the others, after a grace,
/// are ended. SIGINT and SIGTERM are passed on. No rank outlives this process, even when it is killed.
///
/// returns  0, or the exit code of the rank that failed first (128 + signal for one that was killed)
/// throws   Error(kUsage) a program that cannot be run
int run_launch(const LaunchOptions& options);

}  // namespace lexel::cli
