#pragma once

#include <cstdint>
#include <list>
#include <string>
#include <utility>
#include <vector>

#include "autoregressive/parallel/group.h"
#include "autoregressive/parallel/world.h"

namespace lexel::parallel {

/// Names and lengths of the axes that ranks are laid out along, the last one fastest: ranks that differ in it alone are
/// neighbours.
struct MeshShape {
  std::vector<std::pair<std::string, int64_t>> axes;

  int64_t size() const;                           // product of all lengths
  int64_t length(const std::string& axis) const;  // 1 for an axis that is not named
};

/// "data=2,pipeline=2,tensor=2": axes among data, pipeline, expert and tensor, each once, in any order; the mesh has them in this
/// order, tensor fastest. "" is a mesh of one.
///
/// throws   Error(kUsage) naming the axis
MeshShape parse_mesh(const std::string& text);
std::string to_text(const MeshShape& shape);

/// Where a rank stands, and the groups it talks to.
class Mesh {
 public:
  Mesh();  // of one
  /// A launcher's one rank on a GPU has groups of NCCL's too, so that one GPU takes the path of many.
  /// throws   Error(kUsage) when the product of the axes is not the number of ranks, naming axes and both numbers
  Mesh(const World& world, const MeshShape& shape, at::Device device);

  const World& world() const { return world_; }
  const MeshShape& shape() const { return shape_; }
  at::Device device() const { return everyone_.device(); }  // of the groups' tensors
  /// The ranks that differ from this one along `axis` alone; a group of one for an axis that is not named.
  Group& along(const std::string& axis);
  Group& everyone() { return everyone_; }
  int64_t coordinate(const std::string& axis) const;  // 0 for an axis that is not named

 private:
  World world_;
  MeshShape shape_;
  Group everyone_;
  std::list<std::pair<std::string, Group>> groups_;  // references to them stay
  std::list<std::pair<std::string, Group>> ones_;
};

}  // namespace lexel::parallel
