#!/usr/bin/env bash
# Builds portpool and runs every test:   tests/run.sh [arguments for ctest]
#
# Run it as root: each test makes a network namespace of its own (without root it tries a user
# namespace). PORTPOOL_SKIP_DEPS=1 leaves the machine's packages alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { echo "== $*"; }

if [ -z "${PORTPOOL_SKIP_DEPS:-}" ]; then
  say "packages: installing what building and testing need and this machine lacks"
  packaging/install-deps.sh build test
fi

say "configure: cmake --preset release"
cmake --preset release --log-level=WARNING

say "build: cmake --build --preset release"
cmake --build --preset release

say "test: ctest --preset release"
# Tests wait more than they compute.
exec ctest --preset release --output-on-failure --parallel $(($(nproc) + 1)) --no-tests=error "$@"
