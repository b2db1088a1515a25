#!/usr/bin/env bash
# Fuzzes what reads others' bytes:   tests/fuzz/run.sh [SECONDS] [TARGET...]
#
# Builds tests/fuzz with clang++ and libFuzzer (preset fuzz, folder build/fuzz), runs each target for
# SECONDS (60), as many at a time as there are CPUs, and prints a line for each. For hours:
# tests/fuzz/run.sh 3600. What is new goes on in build/fuzz/corpus; an input that ends a target lands
# in build/fuzz/found/TARGET: mend what it shows, and keep it in tests/fuzz/found/TARGET, where every
# build reads it again (ctest -L fuzz).
# Exit status: 0 nothing found, 1 something found, 2 wrong usage.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

all=(config elf handover http poold proc readers shim sock_diag)

seconds=60
if [[ ${1:-} =~ ^[0-9]+$ ]]; then
  seconds=$1
  shift
fi
targets=("${@:-${all[@]}}")
for target in "${targets[@]}"; do
  case " ${all[*]} " in
    *" $target "*) ;;
    *)
      echo "fuzz: no target '$target'; there are: ${all[*]}" >&2
      exit 2
      ;;
  esac
done

cmake --preset fuzz --log-level=ERROR >/dev/null
cmake --build --preset fuzz >build/fuzz/build.log || {
  tail -n 40 build/fuzz/build.log
  exit 1
}

# One input takes milliseconds; the limit is for machines that have other things to do.
# one TARGET: prints its line; fails when something was found.
one() {
  local target=$1 seconds=$2 log=build/fuzz/$1.log corpus=tests/fuzz/corpus/$1 status=0
  local new=build/fuzz/corpus/$target found=build/fuzz/found/$target
  mkdir -p "$new" "$found"
  local folders=("$new" "$corpus")
  [ ! -d "tests/fuzz/found/$target" ] || folders+=("tests/fuzz/found/$target")
  UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 "build/fuzz/tests/fuzz_$target" \
    -max_total_time="$seconds" -timeout=120 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$found/" "${folders[@]}" >"$log" 2>&1 || status=$?
  local runs coverage
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  coverage=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
  if [ "$status" -eq 0 ]; then
    printf '%-10s %10s runs, coverage %5s: nothing found\n' "$target" "${runs:-?}" "${coverage:-?}"
  else
    printf '%-10s %10s runs, coverage %5s: FOUND, see %s and %s\n' "$target" "${runs:-?}" \
      "${coverage:-?}" "$log" "$found"
  fi
  return "$((status != 0))"
}
export -f one
printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -I{} bash -c "one {} $seconds"
