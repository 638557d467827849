#!/usr/bin/env bash
# Trains from this bundle and leaves at most 8 files of 16 MiB. See README.md.
#
#   run.sh MINUTES [OUT] [--total MINUTES] [--resume FOLDER] [OPTIONS of lexel train tokenizer, or generator]
#
#   MINUTES    how long to train now
#   OUT        where the results go (default: results)
#   --total    length of the whole run, when it goes on elsewhere later: the learning rate falls to its end then, not now
#   --resume   goes on from the OUT of an earlier run
#
# LEXEL_TORCH_ROOT  LibTorch 2.11, a folder with lib/; default: the torch of python3
# LEXEL_DEVICE      cpu or cuda; default: cuda where there is an NVIDIA driver
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
die() { echo "run.sh: $*" >&2; exit 1; }

[[ ${1:-} =~ ^[0-9]*\.?[0-9]+$ ]] || die "usage: run.sh MINUTES [OUT] [--total MINUTES] [--resume FOLDER] [OPTIONS]"
minutes=$1 total="" resume="" output=results
shift
if [[ $# -gt 0 && $1 != --* ]]; then output=$1; shift; fi
options=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --total) total=${2:?}; shift 2 ;;
    --resume) resume=$(realpath "${2:?}"); shift 2 ;;
    *) options+=("$1"); shift ;;
  esac
done
mkdir -p "$output"
output=$(realpath "$output")

shopt -s nullglob
packed=("$here"/bin/*.xz "$here"/lib/*.xz)
shopt -u nullglob
[[ ${#packed[@]} == 0 ]] || xz -df "${packed[@]}" || die "$here: the programs cannot be unpacked"

torch=${LEXEL_TORCH_ROOT:-}
if [[ -z $torch ]]; then
  torch=$(python3 -c "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')" 2>/dev/null) || true
  [[ -n $torch ]] || die "no LibTorch: python3 has no torch, and LEXEL_TORCH_ROOT is not set"
fi
[[ -e $torch/lib/libtorch_cpu.so ]] || die "$torch/lib/libtorch_cpu.so: not there"
libraries=$here/lib:$torch/lib
for folder in "$torch"/../nvidia/*/lib; do libraries+=:$folder; done
export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

# Exit code 3 says that all libraries were found: a recipe is no model file. Else the tree beside us is built.
lexel=$here/bin/lexel
code=0
why=$("$lexel" info "$here/recipe.json" 2>&1 >/dev/null) || code=$?
if [[ $code != 3 ]]; then
  echo "run.sh: the programs of the bundle do not start here ($why); building from source" >&2
  source=$(dirname "$here")
  [[ -f $source/CMakeLists.txt ]] || die "no source tree at $source"
  cmake -S "$source" -B "$here/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DLEXEL_TESTS=OFF -DLEXEL_TORCH_ROOT="$torch" >&2
  cmake --build "$here/build" --target programs >&2
  lexel=$here/build/bin/lexel
fi

device=${LEXEL_DEVICE:-cpu}
if [[ -z ${LEXEL_DEVICE:-} && (-e /dev/nvidiactl || -e /dev/dxg) ]]; then device=cuda; fi

work=$(mktemp -d "${TMPDIR:-/tmp}/lexel-run-XXXXXX")
trap 'rm -rf "$work"' EXIT
run=$work/run
mkdir "$run"
cd "$here" # the recipe's paths start here
start=(--recipe recipe.json)
kind=tokenizer inputs=(--data data.tar)
if grep -q '"model.text_depth"' recipe.json; then
  kind=generator tokenizer=tokenizer.safetensors
  [[ -e $tokenizer ]] || tokenizer=../assets/lexel-128.safetensors # the tree's
  inputs=(--sprites sprites.tar --tokenizer "$tokenizer")
  [[ ! -e text.model ]] || inputs+=(--text text.model)
  [[ ! -e data ]] || inputs+=(--data data/*)
fi
if [[ -n $resume ]]; then
  if [[ -e $resume/checkpoint.safetensors ]]; then
    cp "$resume/checkpoint.safetensors" "$run/"
  else
    ls "$resume"/checkpoint.safetensors.part* >/dev/null 2>&1 || die "$resume: no checkpoint"
    cat "$resume"/checkpoint.safetensors.part* >"$run/checkpoint.safetensors"
  fi
  cp "$resume/metrics.jsonl" "$run/"
  [[ ! -e $resume/text.model ]] || cp "$resume/text.model" "$run/"
  start=(--resume)
fi

# The run ends by itself after --minutes of training, or by SIGTERM (with a checkpoint) when this session's time is up;
# start and evaluations count there, and may take two minutes more when the run is to end now.
seconds=$(awk -v m="$minutes" -v more="$([[ -n $total ]] && echo 0 || echo 120)" 'BEGIN { printf "%d", m * 60 + more }')
{
  date -u "+run.sh: %F %T UTC, $minutes min${total:+ of $total} on $device, $(nproc) cores"
  nvidia-smi -L 2>/dev/null || true
} | tee "$run/run.log" >&2
code=0
timeout --signal=TERM --kill-after=60 "$seconds" "$lexel" train "$kind" "${start[@]}" "${inputs[@]}" --output "$run" \
  --device "$device" --workers "$(nproc)" --minutes "${total:-$minutes}" --quiet "${options[@]}" 2>&1 | tee -a "$run/run.log" || code=$?
[[ $code == 0 || $code == 124 ]] || echo "run.sh: training ended with exit code $code" >&2
cp "$run/run.log" "$output/" 2>/dev/null || true # also where there is no checkpoint yet
"$lexel" train results "$run" "$output"
awk -F'"waiting":' '/"type":"step"/ { split($2, v, /[,}]/); sum += v[1]; n++ } END { if (n) printf "waiting for pictures: %.2f %% of the time\n", 100 * sum / n }' "$run/metrics.jsonl" >&2
exit $((code == 124 ? 0 : code))
