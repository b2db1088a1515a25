#!/usr/bin/env bash
# portpool in a few minutes: nginx as a reverse proxy, with more than half of the source ports
# toward its upstream in use, on the kernel's own path and with portpool.
set -euo pipefail
# shellcheck source=common/scene.sh
. "$(dirname "${BASH_SOURCE[0]}")/common/scene.sh"
begin json "nginx wrk" "$@"
need_files 16000
parts=$root/examples/quickstart

held=14200 # just past half of the default range of 28,232 ports
rounds=3
seconds=3
duration="a minute and a half"
if [ -n "$quick" ]; then
  rounds=1
  seconds=1
  duration="20 seconds"
fi

# measure PATH HELD ROUND: see quickstart/measure.sh
measure() {
  local out=$work/$1-$2-$3
  mkdir -p "$out"
  inside "$out" "$parts/measure.sh" "$1" "$2" "$seconds"
}

say "Measuring: $rounds times four runs, and two more for the times of connect(); about $duration."
say "An nginx proxy without upstream keep-alive opens one connection for each request it forwards."
say "Each line is one run of wrk with 64 connections, in a fresh network namespace."
for round in $(seq "$rounds"); do
  for count in 0 "$held"; do
    for path in kernel pool; do
      measure "$path" "$count" "$round"
      python3 "$parts/report.py" line "$work/$path-$count-$round" "$path" "$count"
    done
  done
done
say "Once more on the kernel's path, with the library only watching, for the times of connect()."
for count in 0 "$held"; do
  measure observe "$count" 1
done

say ""
python3 "$parts/report.py" table "$work" ${json:+--json "$json"}
say ""
say "Try it on a program of your own:   $build/bin/poold run -- PROGRAM ARGUMENTS"
