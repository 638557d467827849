#include "apps/train/detector/recipe.h"

#include "kernels/check.h"

namespace lexel::train {

void validate(const DetectorRecipe& r) {
  validate(r.schedule);
  r.paste.validate();
  const auto require = [](bool ok, const char* field, const char* expected, const auto& got) {
    check(ok, ErrorKind::kUsage, "recipe: ", field, ": expected ", expected, ", got ", got);
  };
  require(r.schedule.compute == "fp32", "compute", "fp32, all that a detector knows",
          r.schedule.compute);
  require(r.decoded >= 0 && r.decoded <= 1, "decoded", "0..1", r.decoded);
  require(r.decoded_window >= 1 && r.decoded_window <= 1 << 20, "decoded_window", "1..2^20",
          r.decoded_window);
  require(r.decoded_first >= 1 && r.decoded_first <= r.decoded_window, "decoded_first",
          "1..decoded_window", r.decoded_first);
  require(r.decoded_fresh >= 0 && r.decoded_fresh <= r.decoded_window, "decoded_fresh",
          "0..decoded_window", r.decoded_fresh);
  require(r.gain >= 0 && r.gain < 1, "gain", "0..1 (below 1)", r.gain);
  require(r.offset >= 0 && r.offset < 1, "offset", "0..1 (below 1)", r.offset);
  require(r.eval_scenes >= 1 && r.eval_scenes <= 100'000, "eval_scenes", "1..100000",
          r.eval_scenes);
}

}  // namespace lexel::train
