#!/usr/bin/env bash
# portpool in a few minutes: nginx as a reverse proxy, with more than half of the source ports
# toward its upstream in use, on the kernel's own path and with portpool.
#
#   examples/quickstart.sh [--quick] [--json FILE] [--prebuilt DIR]
#
#   --quick         one short round per measurement, for a first look and for tests
#   --json FILE     write the numbers to FILE too
#   --prebuilt DIR  install and build nothing; use DIR/bin/poold and DIR/lib/libportpool.so
#
# Every measurement runs in a network namespace of its own. No setting of the machine is changed.
# Exit status: 0 done, 2 wrong usage or something is missing.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
parts=$here/quickstart

held=14200 # just past half of the default range of 28,232 ports
rounds=3
seconds=3
duration="a minute and a half"
json=
prebuilt=

usage() {
  sed -n '2,12s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
}

while [ $# -gt 0 ]; do
  case "$1" in
    --quick)
      rounds=1
      seconds=1
      duration="20 seconds"
      ;;
    --json)
      json=${2:?--json needs a file}
      shift
      ;;
    --prebuilt)
      prebuilt=${2:?--prebuilt needs a folder}
      shift
      ;;
    --help)
      usage
      exit 0
      ;;
    *)
      usage >&2
      exit 2
      ;;
  esac
  shift
done

say() { printf '%s\n' "$*"; }

work=$(mktemp -d "${TMPDIR:-/tmp}/portpool-quickstart.XXXXXX")
running=
clean_up() {
  # A measurement that is under way ends what it started itself.
  if [ -n "$running" ]; then
    kill "$running" 2>/dev/null || true
    wait "$running" 2>/dev/null || true
  fi
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# ---- what is needed ------------------------------------------------------------------------------

if [ -n "$prebuilt" ]; then
  build=$(cd "$prebuilt" && pwd)
else
  say "Looking for the packages that building and measuring need."
  "$root/packaging/install-deps.sh" build test
  say "Building portpool (build/release). The first time takes a minute or two."
  (
    cd "$root"
    cmake --preset release
    cmake --build --preset release --target poold portpool
  ) >"$work/build.log" 2>&1 || {
    tail -n 30 "$work/build.log"
    say "The build failed; above is the end of what it said."
    exit 2
  }
  build=$root/build/release
fi
for file in "$build/bin/poold" "$build/lib/libportpool.so"; do
  [ -e "$file" ] || {
    say "missing: $file"
    exit 2
  }
done
for tool in nginx wrk python3 ip unshare; do
  command -v "$tool" >/dev/null || {
    say "missing: $tool (packaging/install-deps.sh test installs it)"
    exit 2
  }
done

files=$(ulimit -Hn)
if [ "$files" != unlimited ] && [ "$files" -lt 16000 ]; then
  say "This needs 16,000 open files in one process, and the limit is $files (ulimit -Hn)."
  exit 2
fi

# Without root a user namespace gives the right to make a network namespace.
namespace=(unshare --net)
[ "$(id -u)" -eq 0 ] || namespace=(unshare --user --map-root-user --net)
"${namespace[@]}" ip link set lo up 2>/dev/null || {
  say "This user may not make a network namespace here. Run it as root: sudo $0"
  exit 2
}

# ---- measurements --------------------------------------------------------------------------------

# measure NAME PATH HELD SECONDS: PATH is kernel, pool or observe (see quickstart/measure.sh).
measure() {
  local out=$work/$1
  mkdir -p "$out"
  "${namespace[@]}" "$parts/measure.sh" "$2" "$3" "$4" "$build" "$out" &
  running=$!
  wait "$running" || {
    say "The measurement '$1' failed. What its programs said:"
    tail -n 5 "$out"/*.log 2>/dev/null || true
    exit 2
  }
  running=
}

say "Measuring: $rounds times four runs, and two more for the times of connect(); about $duration."
say "An nginx proxy without upstream keep-alive opens one connection for each request it forwards."
say "Each line is one run of wrk with 64 connections, in a fresh network namespace."
for round in $(seq "$rounds"); do
  for count in 0 "$held"; do
    for path in kernel pool; do
      measure "$path-$count-$round" "$path" "$count" "$seconds"
      python3 "$parts/report.py" line "$work/$path-$count-$round" "$path" "$count"
    done
  done
done
say "Once more on the kernel's path, with the library only watching, for the times of connect()."
for count in 0 "$held"; do
  measure "observe-$count-1" observe "$count" "$seconds"
done

say ""
python3 "$parts/report.py" table "$work" ${json:+--json "$json"}
say ""
say "Try it on a program of your own:   $build/bin/poold run -- PROGRAM ARGUMENTS"
