#!/usr/bin/env bash
# portpool on another processor:   tests/aarch64.sh [TARGET...]
#
# Compiles for aarch64 with clang++, the libraries coming from Debian's archive for that
# architecture (unpacked below build/aarch64/root, nothing is installed), and runs the tests with
# qemu's emulation of single processes. Without TARGET: the contract's tests and the library. poold
# and its unit tests: tests/aarch64.sh poold tests/unit/all tests/model/all.
#
# What runs was compiled for aarch64, with its instructions and its system calls. Threads run side by
# side, but in the order that this machine's processor keeps: that of x86_64 hides what a weaker one
# would show (docs/layout.md, memory order; tests/model tries that).
# Packages: clang, lld, qemu-user; network: Debian's archive.
# Exit status: 0 all passed, 77 something is not installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=tests/support/needs.sh
. tests/support/needs.sh
needs clang++ ld.lld qemu-aarch64

work=$PWD/build/aarch64
build=$work/release
libraries=(libstdc++-12-dev libboost-dev libspdlog-dev libcli11-dev libtomlplusplus-dev nlohmann-json3-dev
  libmnl-dev libncurses-dev prometheus-cpp-dev libgtest-dev)
targets=("$@")
[ $# -gt 0 ] || targets=(portpool unit_{port_map,unforeseeable_ports,endpoint,tables,layout}
  unit_{port_map_threads,trace_ring,directory,latency})

root=$(python3 tests/foreign/debian.py root "$work" arm64 "${libraries[@]}")
# Without ccache, which may change the names of folders in what the compiler prints of itself.
CCACHE_DISABLE=1 cmake -S . -B "$build" -G Ninja --log-level=WARNING --toolchain tests/aarch64.cmake \
  -DPORTPOOL_AARCH64_ROOT="$root" -DPORTPOOL_BUILD_BENCH=OFF -DPORTPOOL_WERROR=ON -DPORTPOOL_UNITY_BUILD=ON \
  -DCMAKE_BUILD_TYPE=RelWithDebInfo "-DCMAKE_CXX_FLAGS_RELWITHDEBINFO=-O2 -g1 -DNDEBUG"
cmake --build "$build" --target "${targets[@]}"
# What was not built is left out.
exec ctest --test-dir "$build" --output-on-failure --no-tests=error --parallel "$(nproc)" \
  --label-regex '^(unit|model)$' --exclude-regex '_NOT_BUILT$'
