#!/usr/bin/env bash
# What a build of Lexel needs: Debian or Ubuntu packages, and LibTorch 2.11 out of its PyPI wheels. See setup/README.md.
# A second run finds everything in place and takes a moment. --no-libtorch: the packages only.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/cache.sh"
torch=$cache/libtorch-2.11.0

install_packages() {
  command -v dpkg-query >/dev/null || { say "not Debian or Ubuntu: see setup/packages.txt for what to install"; return; }
  local missing
  missing=$(comm -23 <(sort "$here/packages.txt") \
    <(dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p' | sort -u) | tr '\n' ' ')
  [[ -z $missing ]] && return
  local root=()
  if [[ $(id -u) != 0 ]]; then
    if ! command -v sudo >/dev/null || ! { sudo -n true 2>/dev/null || [[ -t 0 ]]; }; then
      die "missing packages; have an administrator run: apt-get install $missing"
    fi
    root=(sudo)
  fi
  say "installing $missing"
  local apt=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
  "${apt[@]}" update >&2
  # shellcheck disable=SC2086  # a list of names
  "${apt[@]}" install -y --no-install-recommends $missing >&2
}

# Only lib/, include/ and share/ of torch, without its Python half; torch/ beside nvidia/, as its RPATHs expect.
install_libtorch() {
  if [[ ! -e $torch/.complete ]]; then
    [[ $(uname -sm) == "Linux x86_64" ]] || die "LibTorch's wheel is for Linux x86_64, this is $(uname -sm)"
    say "fetching LibTorch 2.11.0 (540 MB to download, 1.1 GB unpacked) into $torch"
    make_scratch
    fetch_wheels libtorch.txt
    mkdir "$scratch/root"
    unzip -qd "$scratch/root" "$scratch"/wheels/torch-*.whl 'torch/lib/*' 'torch/include/*' 'torch/share/*' \
      -x 'torch/lib/libtorch_python.so' 'torch/lib/libshm*'
    local wheel
    for wheel in "$scratch"/wheels/nvidia_*.whl; do unzip -qod "$scratch/root" "$wheel" 'nvidia/*/lib/*'; done
    touch "$scratch/root/.complete"
    rm -rf "$torch"
    mv -T "$scratch/root" "$torch"
    rm -rf "$scratch"
  fi
  local toolkit
  if [[ ! -e $torch/.cuda-complete ]] && toolkit=$(cuda_toolkit); then
    say "CUDA toolkit found: fetching what LibTorch's CUDA half needs beside it (232 MB, 563 MB more without cuDNN)"
    make_scratch
    fetch_wheels libtorch-cuda.txt
    has_library "$toolkit" libcudnn.so.9 && has_library "$toolkit" libnccl.so.2 || fetch_wheels libtorch-cudnn.txt
    local wheel
    for wheel in "$scratch"/wheels/nvidia_*.whl; do unzip -qod "$scratch" "$wheel" 'nvidia/*/lib/*'; done
    cp -al --remove-destination "$scratch/nvidia" "$torch/"
    touch "$torch/.cuda-complete"
    rm -rf "$scratch"
  fi
}

# The folder of a CUDA 13 toolkit, if there is one.
cuda_toolkit() {
  local nvcc
  nvcc=$(PATH=$PATH:/usr/local/cuda/bin command -v nvcc) && "$nvcc" --version | grep -q 'release 13\.' || return
  dirname "$(dirname "$(readlink -f "$nvcc")")"
}

has_library() { [[ -e $1/lib64/$2 ]] || ldconfig -p | grep -q "$2 "; }

install_packages
[[ ${1:-} == --no-libtorch ]] || install_libtorch
