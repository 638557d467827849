#!/usr/bin/env bash
# Packs a training run for a machine with a GPU and no network: programs, recipe, pictures, run.sh. See README.md.
#
#   make_bundle.sh RECIPE OUTPUT [--data INPUT...] [--sprites TAR] [--tokenizer FILE] [--text FILE] [--programs FOLDER] [--max-mb N]
#
#   --data       pictures: files, folders, tars, lists; default data/*.tar of the sets that the recipe's mixture names.
#                For a generator: small captioned tars and token files that travel as they are; default none
#   --sprites    for a generator: the things that scenes are composed of (default data/sprites.tar)
#   --tokenizer  for a generator: the picture tokenizer (default: the tree's own, assets/lexel-128.safetensors)
#   --text       for a generator: the text tokenizer; default: one is trained there, on the captions
#   --programs   a build with bin/ and lib/; default: build/release, which this brings up to date
#   --max-mb     most bytes of the bundle and the source tree together, MiB (default: what can be carried, carriage.sh)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tree=$(cd "$here/../../.." && pwd)
source "$here/carriage.sh"
die() { echo "make_bundle: $*" >&2; exit 1; }

[[ $# -ge 2 ]] || die "usage: make_bundle.sh RECIPE OUTPUT [OPTIONS]"
recipe=$1 output=$2
shift 2
data=() sprites=$tree/data/sprites.tar tokenizer="" text="" programs="" max_mb=$carriage_mib
while [[ $# -gt 0 ]]; do
  case $1 in
    --data) shift; while [[ $# -gt 0 && $1 != --* ]]; do data+=("$1"); shift; done ;;
    --sprites) sprites=${2:?}; shift 2 ;;
    --tokenizer) tokenizer=${2:?}; shift 2 ;;
    --text) text=${2:?}; shift 2 ;;
    --programs) programs=${2:?}; shift 2 ;;
    --max-mb) max_mb=${2:?}; shift 2 ;;
    *) die "unknown argument $1" ;;
  esac
done
[[ -f $recipe ]] || die "$recipe: no such recipe"
kind=tokenizer
if grep -q '"model.text_depth"' "$recipe"; then
  kind=generator
  [[ -f $sprites ]] || die "$sprites: no such file: lexel data fetch sprites makes it, or give --sprites"
  [[ -z $tokenizer || -f $tokenizer ]] || die "$tokenizer: no such file"
fi

if [[ -z $programs ]]; then
  programs=$tree/build/release
  (cd "$tree" && cmake --preset release >/dev/null && cmake --build "$programs" --target programs >&2)
fi
[[ -x $programs/bin/lexel ]] || die "$programs/bin/lexel: no such program"

# The sets of the mixture ("mixture": "wallpapers=0.6 ..."), and all that is held out.
if [[ $kind == tokenizer && ${#data[@]} == 0 ]]; then
  mixture=$(sed -n 's/.*"mixture": "\(.*\)".*/\1/p' "$recipe")
  shopt -s nullglob
  for set in $mixture; do data+=("$tree/data/${set%%=*}"-*.tar); done
  for set in skimage opencv-doc wallpapers-heldout; do data+=("$tree/data/$set"-*.tar); done
  [[ -n $mixture ]] || data=("$tree"/data/*.tar)
  [[ ${#data[@]} -gt 0 ]] || die "no pictures in data/: fetch them (build/release/bin/lexel data fetch all), or give --data"
fi

rm -rf "$output"
mkdir -p "$output/bin" "$output/lib"
cp "$programs/bin/lexel" "$output/bin/"
cp "$programs"/lib/liblexel_*.so "$output/lib/"
rm -f "$output/lib/liblexel_bench.so" # training needs none
cp "$here"/run.sh "$here"/README.md "$output/"
strip --strip-unneeded "$output"/bin/* "$output"/lib/*
[[ -f $output/lib/liblexel_cuda.so ]] || echo "make_bundle: this build has no CUDA plugin: the bundle trains on a CPU only" >&2

take_libraries "$output" "$programs/lib/liblexel_programs.so"
pack_programs "$output"

tree_kb=$(tree_kib "$tree")
bundle_kb() { folder_kib "$output"; }
data_mb=$((max_mb - (tree_kb + $(bundle_kb)) / 1024 - 2))
echo "make_bundle: tree $((tree_kb / 1024)) MiB, programs $(($(bundle_kb) / 1024)) MiB, $data_mb MiB left for pictures" >&2
[[ $data_mb -ge 1 ]] || die "nothing is left for pictures of $max_mb MiB: rm models in assets/ that the run does not read (git checkout brings them back)"

if [[ $kind == tokenizer ]]; then
  "$programs/bin/lexel" train pack --recipe "$recipe" --data "${data[@]}" --output "$output" --max-mb "$data_mb" ||
    die "the pictures could not be packed"
else
  cp "$recipe" "$output/recipe.json"
  cp "$sprites" "$output/sprites.tar"
  [[ -z $tokenizer ]] || cp "$tokenizer" "$output/tokenizer.safetensors"
  [[ -z $text ]] || cp "$text" "$output/text.model"
  if [[ ${#data[@]} -gt 0 ]]; then
    mkdir "$output/data"
    cp "${data[@]}" "$output/data/"
  fi
fi

total_kb=$((tree_kb + $(bundle_kb)))
[[ $total_kb -le $((max_mb * 1024)) ]] || die "$((total_kb / 1024)) MiB with the tree, at most $max_mb may be: rm models in assets/ that the run does not read (git checkout brings them back)"
echo "$output: $(($(bundle_kb) / 1024)) MiB, with the tree $((total_kb / 1024)) MiB. There: $output/run.sh MINUTES OUT" >&2
