# Sourced by the scripts of this folder: where things go, and how a wheel gets there.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/lexel
scratch=

say() { echo "setup: $*" >&2; }
die() { say "$*"; exit 1; }

# A fresh folder beside its final place, so that a rename ends the work; gone however the script ends.
make_scratch() {
  mkdir -p "$cache" 2>/dev/null || die "cannot write to $cache"
  find "$cache" -maxdepth 1 -name 'setup.*' -mmin +600 -exec rm -rf {} +  # of a run that was killed
  scratch=$(mktemp -d "$cache/setup.XXXXXX") || die "cannot write to $cache"
  chmod 755 "$scratch"
  trap 'rm -rf "$scratch"' EXIT
  trap 'exit 130' INT TERM HUP
}

# The first python3 that has pip: one on PATH (a user's own) may lack what the system's has.
pip() {
  local python
  for python in python3 /usr/bin/python3; do
    if "$python" -m pip --version >/dev/null 2>&1; then
      "$python" -m pip --disable-pip-version-check "$@"
      return
    fi
  done
  die "no python3 with pip (Debian: apt-get install python3-pip)"
}

# fetch_wheels LIST: the wheels of a requirements file, by their hashes, into $scratch/wheels. The C++ libraries inside do not
# depend on the Python version; asking for one tag makes every machine get the same files.
fetch_wheels() {
  pip download --no-deps --no-cache-dir --require-hashes --requirement "$here/$1" --dest "$scratch/wheels" \
    --only-binary=:all: --python-version 3.11 --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 \
    --platform manylinux_2_25_x86_64 --platform manylinux_2_18_x86_64 --platform manylinux2014_x86_64 --platform any >&2 || die "could not download the wheels of setup/$1 (is PyPI reachable?)"
}
