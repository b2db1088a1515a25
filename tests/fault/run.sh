#!/usr/bin/env bash
# Lets programs and poold die and stop for longer than ctest does, and writes what became of it as the
# rows of a table:   tests/fault/run.sh MINUTES [SEED]
#
# Every range and strategy gets its share of the time. Needs the target fault_crash, in build/release
# or in the folder that PORTPOOL_BUILD names.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

if [[ ! ${1:-} =~ ^[1-9][0-9]*$ ]] || [[ ! ${2:-0} =~ ^[0-9]+$ ]] || [ $# -gt 2 ]; then
  echo "usage: tests/fault/run.sh MINUTES [SEED]" >&2
  exit 2
fi
seed=${2:-$((RANDOM * 32768 + RANDOM))}
program=${PORTPOOL_BUILD:-$root/build/release}/tests/fault_crash
ranges=10

echo "$(date --iso-8601), Linux $(uname -r), $(nproc) CPUs: tests/fault/run.sh $1 $seed"
PORTPOOL_FAULT_SECONDS=$(($1 * 60 / ranges)) PORTPOOL_FAULT_SEED=$seed exec "$program" --gtest_brief=1
