#!/usr/bin/env bash
# A training run travels, rehearsed on the CPU: bundle, an empty folder, a few steps, what comes out, and going on from it.
#
#   bundle_test.sh BUILD TORCH_ROOT
set -euo pipefail
tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
build=$1 torch=$2
work=$(mktemp -d "${TMPDIR:-/tmp}/lexel-bundle-XXXXXX")
trap 'rm -rf "$work"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }

# Pictures with one held out, as `lexel data fetch` packs them; the smoke recipe for 6 steps.
mkdir "$work/pictures"
cp "$tree"/assets/pictures/* "$work/pictures/"
(cd "$work/pictures" && for file in *.*; do
  split=train; [[ $file == coffee* ]] && split=heldout
  echo "{\"set\": \"photos\", \"split\": \"$split\", \"caption\": \"$file\"}" >"${file%.*}.json"
done; tar cf ../pictures.tar -- *)
sed -e 's/"steps": 60/"steps": 0/' -e 's/"minutes": 0.0/"minutes": 1.0/' -e 's/"checkpoint_minutes": 5.0/"checkpoint_minutes": 0.01/' \
  "$tree/recipes/smoke.json" >"$work/recipe.json"
make_bundle=$tree/apps/train/bundle/make_bundle.sh
"$make_bundle" "$work/recipe.json" "$work/away/bundle" --data "$work/pictures.tar" --programs "$build" --max-mb 150
for file in run.sh README.md recipe.json data.tar bin/lexel.xz lib/liblexel_programs.so.xz; do
  [[ -s $work/away/bundle/$file ]] || fail "the bundle has no $file"
done
grep -q "$tree" "$work/away/bundle/recipe.json" && fail "the recipe names the tree"
rm -rf "$work/pictures" "$work/pictures.tar" "$work/recipe.json"

# Away: another folder, nothing of this session's environment.
there() { (cd "$work/away" && env -i PATH=/usr/bin:/bin TMPDIR="$work" OMP_NUM_THREADS=1 LEXEL_DEVICE=cpu LEXEL_TORCH_ROOT="$torch" "$@"); }
there bundle/run.sh 1 out1 --steps 6 --set eval_steps=3 --set log_every=2
check_results() {
  local file count=0
  for file in model.safetensors metrics.jsonl samples.png report.html run.log checkpoint.safetensors; do
    [[ -e $work/away/$1/$file ]] || fail "$1 has no $file"
  done
  for file in "$work/away/$1"/*; do
    count=$((count + 1))
    [[ $(stat -c %s "$file") -le $((16 << 20)) ]] || fail "$file is larger than 16 MiB"
  done
  [[ $count -le 8 ]] || fail "$1 has $count files"
}
check_results out1
grep -q '"type":"step","step":6,' "$work/away/out1/metrics.jsonl" || fail "no 6 steps in metrics.jsonl"
grep -q '"waiting":' "$work/away/out1/metrics.jsonl" || fail "the share of waiting is not logged"

there bundle/run.sh 1 out2 --resume out1 --steps 10
check_results out2
grep -q '"type":"step","step":6,' "$work/away/out2/metrics.jsonl" || fail "the metrics before the resume are lost"
grep -q '"type":"step","step":10,' "$work/away/out2/metrics.jsonl" || fail "training did not go on to step 10"
there "$build/bin/lexel" info out2/model.safetensors >/dev/null || fail "the model cannot be read"

# A generator's: things and the shipped tokenizer travel, scenes are composed there.
sprites=$work/sprites.tar
mkdir "$work/things"
for thing in cat dog fish house tree car cup star; do
  cp "$tree/tests/data/pictures/alpha.png" "$work/things/$thing.png"
  echo "{\"name\": \"$thing\", \"plural\": \"${thing}s\", \"drawing\": \"made\", \"tintable\": false}" >"$work/things/$thing.json"
done
(cd "$work/things" && tar cf "$sprites" -- *)
field() { sed -i "s/\"$1\": [^,]*/\"$1\": $2/" "$work/generator.json"; }
cp "$tree/recipes/parti-lexel-128-gpu.json" "$work/generator.json"
for setting in model.text_depth=1 model.text_vocabulary=400 model.depth=1 model.width=32 model.heads=2 model.hidden=64 batch=4 \
  scenes=40 eval_scenes=8 samples=2; do
  field "${setting%%=*}" "${setting#*=}"
done
"$make_bundle" "$work/generator.json" "$work/away/generator" --sprites "$sprites" --tokenizer "$tree/assets/lexel-128.safetensors" --programs "$build" --max-mb 150
for file in recipe.json sprites.tar tokenizer.safetensors; do
  [[ -s $work/away/generator/$file ]] || fail "the generator's bundle has no $file"
done
there generator/run.sh 1 out3 --steps 3 --set eval_steps=3 --set log_every=1
check_results out3
[[ -s $work/away/out3/text.model ]] || fail "the text tokenizer trained there was lost"
there generator/run.sh 1 out4 --resume out3 --steps 5
grep -q '"type":"step","step":5,' "$work/away/out4/metrics.jsonl" || fail "the generator's training did not go on to step 5"

# Failures are one line.
there bundle/run.sh soon 2>"$work/error" && fail "run.sh took 'soon' for a number"
[[ $(wc -l <"$work/error") == 1 ]] || fail "more than one line: $(cat "$work/error")"
"$make_bundle" "$tree/recipes/smoke.json" "$work/none" --data "$tree/assets/pictures" --programs "$build" --max-mb 1 2>"$work/error" &&
  fail "a bundle larger than its budget was made"
tail -1 "$work/error" | grep -q "nothing is left for pictures of 1 MiB" || fail "unclear: $(cat "$work/error")"
# Without --max-mb, what can be carried is the limit: one number for every bundle.
carried=$(source "$tree/apps/train/bundle/carriage.sh" && echo "$carriage_mib")
[[ $carried == 48 ]] || fail "expected 48 MiB to be carried, got $carried"
truncate -s "${carried}M" "$work/large.tar"
"$make_bundle" "$work/generator.json" "$work/none" --sprites "$work/large.tar" --programs "$build" 2>"$work/error" &&
  fail "a bundle larger than what can be carried was made"
tail -1 "$work/error" | grep -qE "at most $carried may be|of $carried MiB" || fail "unclear: $(cat "$work/error")"
grep -nE "max_mb=[0-9]" "$make_bundle" "$tree/tests/gpu/make_bundle.sh" && fail "a limit of its own"
echo "bundle_test: ok"
