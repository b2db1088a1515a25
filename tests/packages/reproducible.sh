#!/usr/bin/env bash
# Builds the packages and the tarball twice, in folders of different names and lengths and in other time zones
# and languages, and compares them byte by byte:   tests/packages/reproducible.sh
#
# What is committed is what is tried. Ten minutes of a CPU and more; by hand, and when a release is made.
# What was compared last stands in docs/install.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
work=$(mktemp -d "${TMPDIR:-/tmp}/portpool-reproducible.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
commit=$(git rev-parse HEAD)

# build FOLDER ENVIRONMENT...
build() {
  local folder=$1
  shift
  mkdir -p "$folder"
  git archive "$commit" | tar -x -C "$folder"
  # shellcheck disable=SC2016
  env CCACHE_DISABLE=1 "$@" bash -euc '
    cd "$0"
    cmake --preset release -DPORTPOOL_BUILD_TESTS=OFF -DPORTPOOL_BUILD_BENCH=OFF
    cmake --build --preset release
    cmake --build --preset release --target tarball
    cpack --config build/release/CPackConfig.cmake -B build/packages -G DEB
  ' "$folder" >"$folder.log" 2>&1 || { tail -n 20 "$folder.log"; exit 1; }
  rm -rf "$folder/build/packages/_CPack_Packages"
  (cd "$folder/build" && sha256sum packages/*.deb release/portpool-*.tar.gz release/bin/poold release/lib/libportpool.so)
}

build "$work/one" TZ=UTC LC_ALL=C >"$work/first"
build "$work/another folder/deeper" TZ=Asia/Kolkata LC_ALL=C.UTF-8 >"$work/second"
if ! diff "$work/first" "$work/second"; then
  echo "reproducible: FAILED: these differ"
  exit 1
fi
cut -d' ' -f3- "$work/first"
echo "reproducible: all of them are the same, byte by byte"
