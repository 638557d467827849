#!/usr/bin/env bash
# The GPU hour, rehearsed without a GPU: bundle, an empty folder, run.sh to its end, every step saying "no GPU".
#
#   rehearsal_test.sh BUILD TORCH_ROOT
set -euo pipefail
tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$1 torch=$2
work=$(mktemp -d "${TMPDIR:-/tmp}/lexel-gpu-XXXXXX")
trap 'rm -rf "$work"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }
if [[ -e /dev/nvidiactl || -e /dev/dxg ]]; then echo "this machine has a GPU: skipped" && exit 0; fi

# Only a release build is small.
"$tree/tests/gpu/make_bundle.sh" "$work/away/bundle" --programs "$build" --max-mb 2000
for file in run.sh steps.py peers.py sources.json bin/lexel.xz bin/kernels_attention_test.xz lib/liblexel_bench.so.xz; do
  [[ -s $work/away/bundle/$file ]] || fail "the bundle has no $file"
done

# Away: another folder, nothing of this session's environment.
there() { (cd "$work/away" && env -i PATH=/usr/bin:/bin TMPDIR="$work" OMP_NUM_THREADS=1 LEXEL_TORCH_ROOT="$torch" "$@"); }
there bundle/run.sh out --minutes 2
[[ $(find "$work/away/out" -type f | wc -l) == 2 && -s $work/away/out/run.log ]] || fail "expected gpu.json and run.log alone"
python3 - "$work/away/out/gpu.json" "$tree" <<'END'
import json, subprocess, sys
run = json.load(open(sys.argv[1]))
table = lambda what: subprocess.run([sys.executable, sys.argv[2] + "/tests/gpu/table.py", what], capture_output=True, text=True).stdout.split()
kernels = table("kernels")
assert run["device"] is None, run["device"]
assert sorted(run["sources"]) == kernels and all(len(digest) == 64 for digest in run["sources"].values())
assert sorted(run["tests"]) == table("tests"), run["tests"]
assert all(test["state"] == "no GPU" for test in run["tests"].values()), run["tests"]  # each program started
assert run["bench"]["state"] == "no GPU" and len(run["bench"]["cases"]) > 0, run["bench"]
for step in ("fresh_tests", "python_peers", "sanitizer"):
    assert run[step] == {"state": "no GPU"}, run[step]
END

# A run without a GPU makes no table; failures are one line.
python3 "$tree/tests/gpu/table.py" table "$work/away/out/gpu.json" 2>"$work/error" && fail "a table was made of nothing"
grep -q "without a GPU" "$work/error" || fail "unclear: $(cat "$work/error")"
there bundle/run.sh out --minutes soon 2>"$work/error" && fail "run.sh took 'soon' for a number"
[[ $(wc -l <"$work/error") == 1 ]] || fail "more than one line: $(cat "$work/error")"
"$tree/tests/gpu/make_bundle.sh" "$work/none" --programs "$build" --max-mb 1 2>"$work/error" && fail "a bundle larger than its budget was made"
tail -1 "$work/error" | grep -q "at most 1 may be" || fail "unclear: $(cat "$work/error")"
echo "rehearsal_test: ok"
