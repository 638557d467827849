#include "kernels/attention.h"

#include <ATen/ops/empty.h>

namespace lexel::kernels {

at::Tensor mask_table(const AttentionMask& mask, int64_t queries, int64_t keys) {
  validate(mask, "mask_table");
  at::Tensor table = at::empty({queries, keys}, at::kBool);  // (N, M)
  bool* const sees = table.mutable_data_ptr<bool>();
  for (int64_t query = 0; query < queries; ++query) {
    for (int64_t key = 0; key < keys; ++key) sees[query * keys + key] = mask.allows(query, key);
  }
  return table;
}

}  // namespace lexel::kernels
