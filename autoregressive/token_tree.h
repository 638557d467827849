#pragma once

// Private to autoregressive.

#include <cstdint>
#include <map>
#include <vector>

namespace lexel::ar {

/// Several rows of tokens as one tree, where rows that begin alike share nodes. Node 0 is the root, before the first token.
struct TokenTree {
  struct Node {
    int64_t token = -1, parent = -1;
    std::map<int64_t, int64_t> children;  // by token
    int64_t row = -1;                     // the first row that ends here, or -1
  };

  std::vector<Node> nodes{Node{}};
  std::vector<int64_t> ends;  // by row: the node of its last token

  const Node& at(int64_t node) const { return nodes[static_cast<size_t>(node)]; }

  void add(const std::vector<int64_t>& row) {
    int64_t node = 0;
    for (const int64_t token : row) {
      const auto next = static_cast<int64_t>(nodes.size());
      const auto [child, is_new] =
          nodes[static_cast<size_t>(node)].children.try_emplace(token, next);
      const int64_t to = child->second;
      if (is_new) nodes.push_back({token, node, {}, -1});
      node = to;
    }
    Node& end = nodes[static_cast<size_t>(node)];
    if (end.row < 0) end.row = static_cast<int64_t>(ends.size());
    ends.push_back(node);
  }
};

}  // namespace lexel::ar
