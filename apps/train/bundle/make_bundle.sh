#!/usr/bin/env bash
# Packs a training run for a machine with a GPU and no network: programs, recipe, pictures, run.sh. See README.md.
#
#   make_bundle.sh RECIPE OUTPUT [--data INPUT...] [--sprites TAR] [--tokenizer FILE] [--text FILE] [--programs FOLDER] [--max-mb N]
#
#   --data       pictures: files, folders, tars, lists; default data/*.tar of the sets that the recipe's mixture names.
#                For a generator: small captioned tars and token files that travel as they are; default none
#   --sprites    for a generator: the things that scenes are composed of (default data/sprites.tar)
#   --tokenizer  for a generator: the picture tokenizer (default assets/lexel-128.safetensors)
#   --text       for a generator: the text tokenizer; default: one is trained there, on the captions
#   --programs   a build with bin/ and lib/; default: build/release, which this brings up to date
#   --max-mb     most bytes of the bundle and the source tree together, MiB (default 60)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tree=$(cd "$here/../../.." && pwd)
die() { echo "make_bundle: $*" >&2; exit 1; }

[[ $# -ge 2 ]] || die "usage: make_bundle.sh RECIPE OUTPUT [OPTIONS]"
recipe=$1 output=$2
shift 2
data=() sprites=$tree/data/sprites.tar tokenizer=$tree/assets/lexel-128.safetensors text="" programs="" max_mb=60
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
  [[ -f $tokenizer ]] || die "$tokenizer: no such file"
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

# Libraries that LibTorch and a plain system do not bring. ldd lists what is needed at any depth.
torch_lib=$(ldd "$programs/lib/liblexel_programs.so" | sed -n 's/.*libtorch_cpu\.so => \(.*\)\/libtorch_cpu\.so .*/\1/p')
torch_root=$(dirname "$(dirname "$torch_lib")")
system='^(ld-linux.*|linux-vdso.*|lib(c|m|dl|rt|pthread|util|gcc_s|stdc\+\+|gomp.*))\.so'
ldd "$programs/lib/liblexel_programs.so" | while read -r name _ path _; do
  [[ $path == /* && $path != "$torch_root"/* && ! $name =~ $system ]] || continue
  if [[ $name == libicudata.so.* ]]; then
    # 31 MB of Unicode tables that libxml2, behind libarchive, would load for XML: as in ICU's own stubdata, none.
    echo "const char icudt${name##*.}_dat[16] = {0};" | cc -shared -fPIC -x c - -Wl,-soname,"$name" -o "$output/lib/$name"
  else
    cp -L "$path" "$output/lib/$name"
  fi
done

# What the tree takes: it travels beside the bundle.
tree_kb=0
if git -C "$tree" rev-parse --git-dir >/dev/null 2>&1; then
  tree_kb=$(cd "$tree" && git ls-files -z -co --exclude-standard | du -ck --apparent-size --files0-from=- 2>/dev/null | tail -1 | cut -f1)
fi
bundle_kb() { du -sk --apparent-size "$output" | cut -f1; }
data_mb=$((max_mb - (tree_kb + $(bundle_kb)) / 1024 - 2))
echo "make_bundle: tree $((tree_kb / 1024)) MiB, programs $(($(bundle_kb) / 1024)) MiB, $data_mb MiB left for pictures" >&2
[[ $data_mb -ge 1 ]] || die "nothing is left for pictures of $max_mb MiB"

if [[ $kind == tokenizer ]]; then
  "$programs/bin/lexel" train pack --recipe "$recipe" --data "${data[@]}" --output "$output" --max-mb "$data_mb" ||
    die "the pictures could not be packed"
else
  cp "$recipe" "$output/recipe.json"
  cp "$sprites" "$output/sprites.tar"
  cp "$tokenizer" "$output/tokenizer.safetensors"
  [[ -z $text ]] || cp "$text" "$output/text.model"
  if [[ ${#data[@]} -gt 0 ]]; then
    mkdir "$output/data"
    cp "${data[@]}" "$output/data/"
  fi
fi

total_kb=$((tree_kb + $(bundle_kb)))
[[ $total_kb -le $((max_mb * 1024)) ]] || die "$((total_kb / 1024)) MiB with the tree, at most $max_mb may be"
echo "$output: $(($(bundle_kb) / 1024)) MiB, with the tree $((total_kb / 1024)) MiB. There: $output/run.sh MINUTES OUT" >&2
