#!/usr/bin/env bash
# The GPU hour: all CUDA tests, then all benchmarks beside their peers, on a machine with an NVIDIA GPU; no network is needed.
#
#   run.sh [OUT] [--minutes N]
#
#   OUT         folder for gpu.json and run.log (default: gpu-results)
#   --minutes   stop by then, with what there is (default 9)
#
# LEXEL_TORCH_ROOT  LibTorch 2.11, a folder with lib/; default: the torch of python3
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
die() { echo "run.sh: $*" >&2; exit 2; }

output=gpu-results minutes=9
if [[ $# -gt 0 && $1 != --* ]]; then output=$1; shift; fi
while [[ $# -gt 0 ]]; do
  case $1 in
    --minutes) minutes=${2:?}; shift 2 ;;
    *) die "unknown argument $1; usage: run.sh [OUT] [--minutes N]" ;;
  esac
done
[[ $minutes =~ ^[0-9]*\.?[0-9]+$ ]] || die "--minutes: expected a number, got $minutes"
shopt -s nullglob
packed=("$here"/bin/*.xz "$here"/lib/*.xz)
[[ ${#packed[@]} == 0 ]] || xz -df "${packed[@]}" || die "$here: the programs cannot be unpacked"
[[ -x $here/bin/lexel ]] || die "$here/bin/lexel: not there; make gpu-kernels-bundle makes the folder that this script runs in"

torch=${LEXEL_TORCH_ROOT:-}
if [[ -z $torch ]]; then
  torch=$(python3 -c "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')" 2>/dev/null) || true
  [[ -n $torch ]] || die "no LibTorch: python3 has no torch, and LEXEL_TORCH_ROOT is not set"
fi
[[ -e $torch/lib/libtorch_cpu.so ]] || die "$torch/lib/libtorch_cpu.so: not there"
libraries=$here/lib:$torch/lib
for folder in "$torch"/../nvidia/*/lib; do libraries+=:$folder; done

mkdir -p "$output"
exec python3 "$here/steps.py" --bundle "$here" --output "$(realpath "$output")" --minutes "$minutes" \
  --libraries "$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
