#!/usr/bin/env bash
# Packs the GPU hour for a machine with a GPU and no network: test programs, benchmarks, plugin, run.sh. See README.md.
#
#   make_bundle.sh OUTPUT [--programs FOLDER] [--max-mb N]
#
#   --programs   a build with bin/ and lib/ (default: build/release); its kernel tests, lexel and plugin must be built
#   --max-mb     most bytes of the bundle and the source tree together, MiB (default: what can be carried, carriage.sh)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tree=$(cd "$here/../.." && pwd)
source "$tree/apps/train/bundle/carriage.sh"
die() { echo "make_bundle: $*" >&2; exit 1; }

[[ $# -ge 1 && $1 != --* ]] || die "usage: make_bundle.sh OUTPUT [--programs FOLDER] [--max-mb N]"
output=$1 programs=$tree/build/release max_mb=$carriage_mib
shift
while [[ $# -gt 0 ]]; do
  case $1 in
    --programs) programs=${2:?}; shift 2 ;;
    --max-mb) max_mb=${2:?}; shift 2 ;;
    *) die "unknown argument $1" ;;
  esac
done
for file in bin/lexel lib/liblexel_bench.so; do [[ -e $programs/$file ]] || die "$programs/$file: not built"; done

rm -rf "$output"
mkdir -p "$output/bin" "$output/lib"
cp "$programs/bin/lexel" "$output/bin/"
tests=0
for test in $(python3 "$here/table.py" tests); do
  program=$programs/bin/$test
  [[ -x $program ]] || die "$program: not built"
  cp "$program" "$output/bin/"
  tests=$((tests + 1))
done
cp "$programs/lib/liblexel_bench.so" "$output/lib/"
if [[ -f $programs/lib/liblexel_cuda.so ]]; then
  cp "$programs/lib/liblexel_cuda.so" "$output/lib/"
else
  echo "make_bundle: this build has no CUDA plugin: nothing will run on a GPU" >&2
fi
cp "$here"/run.sh "$here"/steps.py "$here"/peers.py "$output/"
python3 "$here/table.py" sources >"$output/sources.json"
strip --strip-unneeded "$output"/bin/* "$output"/lib/*

take_libraries "$output" "$programs/lib/liblexel_bench.so" "$output"/bin/*

pack_programs "$output"

total_kb=$(($(tree_kib "$tree") + $(folder_kib "$output")))
echo "$output: $tests test programs, $(($(folder_kib "$output") / 1024)) MiB, with the tree $((total_kb / 1024)) MiB. There: $output/run.sh OUT" >&2
[[ $total_kb -le $((max_mb * 1024)) ]] || die "$((total_kb / 1024)) MiB with the tree, at most $max_mb may be: rm models in assets/ that the run does not read (git checkout brings them back)"
