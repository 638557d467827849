#include "autoregressive/parallel/mesh.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "kernels/check.h"

namespace lexel::parallel {
namespace {

// Slowest first: what talks most has its ranks side by side.
constexpr std::array kAxes{"data", "pipeline", "expert", "tensor"};
constexpr int64_t kMostRanks = int64_t{1} << 20;

size_t place_of(const std::string& axis) {
  return static_cast<size_t>(std::find(kAxes.begin(), kAxes.end(), axis) - kAxes.begin());
}

}  // namespace

int64_t MeshShape::size() const {
  int64_t product = 1;
  for (const auto& [axis, length] : axes) product *= length;
  return product;
}

int64_t MeshShape::length(const std::string& axis) const {
  for (const auto& [name, length] : axes)
    if (name == axis) return length;
  return 1;
}

MeshShape parse_mesh(const std::string& text) {
  MeshShape shape;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string part = text.substr(begin, end - begin);
    const size_t equal = std::min(part.find('='), part.size());
    const std::string axis = part.substr(0, equal);
    const std::string digits = equal < part.size() ? part.substr(equal + 1) : "";
    check(place_of(axis) < kAxes.size(), ErrorKind::kUsage, "mesh: no axis \"", axis,
          "\" (there are data, pipeline, expert and tensor, as in data=2,tensor=2)");
    int64_t length = 0;
    const auto [stop, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), length);
    check(error == std::errc() && stop == digits.data() + digits.size() && length >= 1 &&
              length <= kMostRanks,
          ErrorKind::kUsage, "mesh: axis ", axis, ": expected a length of 1 to ", kMostRanks,
          ", got \"", digits, "\"");
    for (const auto& [known, unused] : shape.axes)
      check(known != axis, ErrorKind::kUsage, "mesh: axis ", axis, " stands twice");
    shape.axes.emplace_back(axis, length);
    check(shape.size() <= kMostRanks, ErrorKind::kUsage, "mesh: axis ", axis, ": more than ",
          kMostRanks, " ranks in all");
    begin = end + 1;
  }
  std::sort(shape.axes.begin(), shape.axes.end(),
            [](const auto& a, const auto& b) { return place_of(a.first) < place_of(b.first); });
  return shape;
}

std::string to_text(const MeshShape& shape) {
  std::string text;
  for (const auto& [axis, length] : shape.axes)
    text += concat(text.empty() ? "" : ",", axis, "=", length);
  return text;
}

Mesh::Mesh() = default;

Mesh::Mesh(const World& world, const MeshShape& shape, at::Device device)
    : world_(world), shape_(shape) {
  check(shape.size() == world.size, ErrorKind::kUsage, "mesh ",
        shape.axes.empty() ? "of one" : to_text(shape), " has ", shape.size(), " ranks, but ",
        world.size, world.size == 1 ? " process runs" : " processes run",
        " (start them with lexel launch -n ", shape.size(), " -- ..., torchrun, mpirun or srun)");
  const bool nccl_of_one = device.is_cuda() && !world.launcher.empty();
  if (world.size == 1 && !nccl_of_one) return;
  std::vector<int64_t> all(static_cast<size_t>(world.size));
  for (int64_t r = 0; r < world.size; ++r) all[static_cast<size_t>(r)] = r;
  everyone_ = Group(world, "everyone", "everyone", all, device);
  int64_t stride = world.size;
  for (const auto& [axis, length] : shape.axes) {
    stride /= length;
    if (length == 1 && !nccl_of_one) {
      groups_.emplace_back(axis, Group(axis));
      continue;
    }
    const int64_t first = world.rank - coordinate(axis) * stride;
    std::vector<int64_t> members;
    for (int64_t i = 0; i < length; ++i) members.push_back(first + i * stride);
    groups_.emplace_back(axis, Group(world, axis, concat(axis, "/", first), members, device));
  }
}

Group& Mesh::along(const std::string& axis) {
  for (auto& [name, group] : groups_)
    if (name == axis) return group;
  check_arg(place_of(axis) < kAxes.size(), "Mesh::along", "no axis \"", axis, "\"");
  for (auto& [name, group] : ones_)
    if (name == axis) return group;
  return ones_.emplace_back(axis, Group(axis)).second;
}

int64_t Mesh::coordinate(const std::string& axis) const {
  int64_t stride = shape_.size();
  for (const auto& [name, length] : shape_.axes) {
    stride /= length;
    if (name == axis) return world_.rank / stride % length;
  }
  return 0;
}

}  // namespace lexel::parallel
