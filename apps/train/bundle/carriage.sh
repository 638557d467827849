# What every bundle for another machine shares (sourced by make_bundle.sh here and in tests/gpu).

carriage_mib=48 # most bytes that can be carried: the bundle and the source tree together, MiB

# tree_kib TREE: the source tree, which travels beside the bundle; 0 where it is no checkout.
tree_kib() {
  git -C "$1" rev-parse --git-dir >/dev/null 2>&1 || { echo 0; return; }
  (cd "$1" && git ls-files -z -co --exclude-standard | du -ck --apparent-size --files0-from=- 2>/dev/null | tail -1 | cut -f1)
}

folder_kib() { du -sk --apparent-size "$1" | cut -f1; }

# take_libraries OUTPUT LIBRARY [PROGRAM...]: copies into OUTPUT/lib what these need and neither LibTorch nor a plain system brings.
# ldd lists what is needed at any depth; LIBRARY is one that needs LibTorch.
take_libraries() {
  local output=$1 torch system name path
  shift
  torch=$(ldd "$1" | sed -n 's/.*libtorch_cpu\.so => \(.*\)\/lib\/libtorch_cpu\.so .*/\1/p')
  system='^(ld-linux.*|linux-vdso.*|lib(c|m|dl|rt|pthread|util|gcc_s|stdc\+\+|gomp.*))\.so'
  for file in "$@"; do ldd "$file"; done | sort -u | while read -r name _ path _; do
    [[ $path == /* && $path != "$torch"/* && $path != "$output"/* && ! $name =~ $system ]] || continue
    [[ $(readlink -f "$path") != "$(readlink -f "$torch/..")"/* ]] || continue # CUDA's own, beside torch
    if [[ $name == libicudata.so.* ]]; then
      # 31 MB of Unicode tables that libxml2, behind libarchive, would load for XML: as in ICU's own stubdata, none.
      echo "const char icudt${name##*.}_dat[16] = {0};" | cc -shared -fPIC -x c - -Wl,-soname,"$name" -o "$output/lib/$name"
    else
      cp -L "$path" "$output/lib/$name"
    fi
  done
}

# pack_programs OUTPUT: bin/ and lib/ to a third of their size; the bundle's run.sh unpacks them.
pack_programs() { xz -2 "$1"/bin/* "$1"/lib/*; }
