#!/usr/bin/env bash
# table.py on a small tree and a made-up run: the table between its marks, the record, and what counts as changed since.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tree=$(mktemp -d "${TMPDIR:-/tmp}/lexel-table-XXXXXX")
trap 'rm -rf "$tree"' EXIT
export PYTHONDONTWRITEBYTECODE=1
fail() { echo "FAILED: $*" >&2; exit 1; }
table() { python3 "$here/table.py" "$@" --tree "$tree"; }
expect_status() { grep -q "^$1 *$2" <<<"$(table status)" || fail "$1: expected '$2', got: $(table status)"; }

# Two kernels; both include a header of their own and one that they share.
mkdir -p "$tree/kernels/cuda/ptx" "$tree/kernels/cpu"
for kernel in alpha beta; do
  echo '#include "kernels/check.h"' >"$tree/kernels/$kernel.h"
  printf '#include "kernels/%s.h"\n#include "kernels/cpu/%s.h"\n#include "kernels/cuda/table.h"\n' $kernel $kernel >"$tree/kernels/$kernel.cpp"
  echo '// CPU' >"$tree/kernels/cpu/$kernel.h"
  printf '#include "kernels/cuda/launch.h"\n#include "kernels/cuda/%s_tiles.h"\n' $kernel >"$tree/kernels/cuda/$kernel.cu"
  echo '// tiles' >"$tree/kernels/cuda/${kernel}_tiles.h"
done
echo '#include "kernels/cuda/ptx/mma.h"' >>"$tree/kernels/cuda/beta_tiles.h"
for file in check.h cuda/launch.h cuda/table.h cuda/ptx/mma.h device.h device.cpp; do echo "// $file" >"$tree/kernels/$file"; done
printf 'before\n<!-- gpu table -->\nold\n<!-- end of gpu table -->\nafter\n' >"$tree/kernels/README.md"
mkdir -p "$tree/tests/kernels" "$tree/tests/support"
printf '#include "kernels/alpha.h"\n#include "tests/support/every_path.h"\n' >"$tree/tests/kernels/alpha_test.cpp"
echo '// no kernel' >"$tree/tests/kernels/device_test.cpp"
echo '#include "tests/support/gpu.h"' >"$tree/tests/support/every_path.h"
echo '// gpu' >"$tree/tests/support/gpu.h"
for test in beta beta_more; do printf '#include "kernels/beta.h"\n#include "tests/support/gpu.h"\n' >"$tree/tests/kernels/${test}_test.cpp"; done
printf '#include "kernels/beta.h"\n' >"$tree/tests/kernels/no_gpu_test.cpp"
[[ $(table tests) == $'kernels_alpha_test\nkernels_beta_more_test\nkernels_beta_test\nkernels_device_test' ]] || fail "tests: $(table tests)"
[[ $(table kernels) == $'alpha\nbeta' ]] || fail "kernels: $(table kernels)"
expect_status alpha "never run on a GPU"

# A run: alpha passes, beta fails a test on fresh inputs.
sources=$(table sources | sed -n '/"sources"/,$p')
cat >"$tree/run.json" <<END
{"date": "2026-01-31 10:00 UTC", "revision": "abc", "device": "Made-up GPU 3", "driver": "1.2", "cuda": "13.0",
 "tests": {"kernels_alpha_test": {"state": "ok", "gpu": true, "tests": 7, "failures": 0}, "kernels_beta_test": {"state": "ok", "gpu": true, "tests": 3, "failures": 0},
  "kernels_beta_more_test": {"state": "ok", "gpu": true, "tests": 2, "failures": 0}},
 "fresh_tests": {"kernels_alpha_test": {"state": "ok", "gpu": true, "tests": 7, "failures": 0}, "kernels_beta_test": {"state": "exit 1", "gpu": true, "tests": 5, "failures": 2}},
 "bench": {"ceilings": {"read": 3e12, "bf16 matmul": 7.9e14}, "gpu": {"capability": 90}, "rows": [
   {"kernel": "alpha", "case": "big", "checked": "all", "ceiling": "read", "work": 3e8, "ceiling_used": 0.5,
    "ours": {"name": "Lexel", "seconds": 2e-4}, "peers": [{"name": "one", "seconds": 1e-3}, {"name": "two", "error": "no memory"}]},
   {"kernel": "beta", "case": "small", "error": "off by 3"}]},
 "python_peers": {"rows": [{"kernel": "alpha", "case": "big", "peer": {"name": "compiled", "seconds": 4e-4}}]},
 "sanitizer": {"state": "none here"}, $sources
END
table table "$tree/run.json" >/dev/null
readme=$tree/kernels/README.md
for line in before after '| `alpha` | big | 200 us | one | 1.00 ms | 5.00 x | 50 % of read (1.5 TB/s) |' '| | | | two | failed | | |' \
  '| | | | Python: compiled | 400 us | 2.00 x | |' '| `beta` | small | failed | off by 3 | | | |' \
  'Ceilings measured in the run: read 3 TB/s, bf16 matmul 790 TFLOP/s.' 'compute-sanitizer: none here.'; do
  grep -qxF -- "$line" "$readme" || fail "no line '$line' in: $(cat "$readme")"
done
grep -q "^Made-up GPU 3 (sm_90), driver 1.2, CUDA 13.0, 2026-01-31" "$readme" || fail "no device, driver and date"
grep -q '| `alpha` | 7 run, passed | `[0-9a-f]\{16\}` |' "$readme" || fail "no hash of alpha"
grep -q '| `beta` | 5 run, 2 of 5 tests fail on fresh inputs |' "$readme" || fail "beta's failure is hidden"
grep -qx old "$readme" && fail "the old table is still there"
[[ -s $tree/tests/gpu/results/made-up-gpu-3.json ]] || fail "no record"
before=$(cat "$readme")
table table "$tree/run.json" >/dev/null
[[ $(cat "$readme") == "$before" ]] || fail "a second time changes the table"

# What changes a kernel: its own files and what they include; not the CPU's side, not the list of all kernels.
expect_status alpha "as run on Made-up GPU 3, 2026-01-31: passed"
expect_status beta "as run on Made-up GPU 3, 2026-01-31: 2 of 5 tests fail on fresh inputs"
for file in cpu/alpha.h cuda/table.h device.cpp; do echo "// more" >>"$tree/kernels/$file"; done
expect_status alpha "as run"
echo "// more" >>"$tree/kernels/cuda/ptx/mma.h"
expect_status alpha "as run"
expect_status beta "changed since its run on Made-up GPU 3, 2026-01-31"
printf '#include "kernels/cuda/alpha.h"\n' >"$tree/kernels/cuda/scan.cu" # of alpha, by another name
expect_status alpha "changed since"
rm "$tree/kernels/cuda/scan.cu"
cp "$tree/kernels/cuda/alpha_tiles.h" "$tree/kept"
echo "// more" >>"$tree/kernels/cuda/alpha_tiles.h"
expect_status alpha "changed since"
cp "$tree/kept" "$tree/kernels/cuda/alpha_tiles.h"
expect_status alpha "as run"

# A run whose programs did not use the GPU is none.
sed 's/"gpu": true/"gpu": false/' "$tree/run.json" >"$tree/blind.json"
table table "$tree/blind.json" >/dev/null
expect_status alpha "never run on a GPU"
grep -q '| `alpha` | not run |' "$readme" || fail "a run without the GPU counts"

# Failures are one line.
for bad in "$tree/none.json" "$readme"; do
  table table "$bad" 2>"$tree/error" && fail "a table was made of $bad"
  [[ $(wc -l <"$tree/error") == 1 ]] || fail "more than one line: $(cat "$tree/error")"
done
sed -i '/end of gpu table/d' "$readme"
table table "$tree/run.json" 2>"$tree/error" && fail "a README without its marks was written"
grep -q "expected one <!-- gpu table -->" "$tree/error" || fail "unclear: $(cat "$tree/error")"
echo "table_test: ok"
