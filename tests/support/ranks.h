#pragma once

#include <chrono>
#include <exception>
#include <functional>
#include <gtest/gtest.h>
#include <string>
#include <thread>
#include <vector>

#include "autoregressive/parallel/mesh.h"

namespace lexel::tests {

/// Runs body(mesh) on the ranks of a mesh, each a thread with real collectives; one that throws fails the test.
inline void on_mesh(const std::string& shape, const std::function<void(parallel::Mesh&)>& body) {
  const parallel::MeshShape axes = parallel::parse_mesh(shape);
  const auto worlds = parallel::worlds_of_threads(axes.size(), std::chrono::seconds(30));
  std::vector<std::string> errors(worlds.size());
  std::vector<std::thread> threads;
  for (size_t rank = 0; rank < worlds.size(); ++rank) {
    threads.emplace_back([&, rank] {
      try {
        parallel::Mesh mesh(worlds[rank], axes, at::kCPU);
        body(mesh);
        mesh.everyone().barrier();
      } catch (const std::exception& error) {
        errors[rank] = error.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t rank = 0; rank < errors.size(); ++rank)
    EXPECT_EQ(errors[rank], "") << "rank " << rank;
}

}  // namespace lexel::tests
