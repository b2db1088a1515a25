#!/usr/bin/env bash
# scan-storm: connect() eats the CPU, because nearly all source ports toward one destination are in
# use and the kernel searches for the last ones.
set -euo pipefail
# shellcheck source=../common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
begin_incident "nginx wrk" "$@"
need_files 19000

address=127.0.0.1 port=9001
url=http://$address:$port/

# load LABEL [NAME=VALUE...]: short connections by wrk
load() {
  local label=$1
  shift
  python3 "$here/load.py" "$work" "$perf" "$seconds" "$url" "$@" >"$work/load.json"
  fact "$label" "$(cat "$work/load.json")"
  python3 - "$work/load.json" <<'PYTHON'
import json, sys
run = json.load(open(sys.argv[1]))
share = "" if run["search_percent"] is None else (
    f"; {run['search_percent']:.0f} % of it in the kernel's search for a port")
print(f"    {run['requests_per_s']:,.0f} requests/s, p50 {run['p50_ms']:.1f} ms,"
      f" p99 {run['p99_ms']:.1f} ms; {run['cpu_us_per_request']:,.0f} us of wrk's CPU time for"
      f" each{share}")
if run["failures"]:
    print(f"    {run['failures']:,} failed")
PYTHON
}

# exhaust LABEL: attempts under the library where nothing is free
exhaust() {
  "${shim[@]}" python3 "$here/attempts.py" "$address" "$port" "$seconds" >"$work/attempts.json"
  fact "exhausted_$1" "$(cat "$work/attempts.json")"
  python3 - "$work/attempts.json" <<'PYTHON'
import json, sys
run = json.load(open(sys.argv[1]))
ends = ", ".join(f"{n:,} {how}" for how, n in run["outcomes"].items())
print(f"    {run['attempts']:,} attempts ({ends}), {run['cpu_us_per_attempt']:,.0f} us of CPU time"
      f" each, {run['cpu_percent']:.0f} % of the CPU;\n    the bystander was"
      f" {run['late_p50_ms']:.2f} ms late at the median, {run['late_p99_ms']:.1f} ms at p99")
PYTHON
}

read -r low high </proc/sys/net/ipv4/ip_local_port_range
perf=none
# Reading the samples takes longer than taking them.
if [ "$seconds" -gt 1 ] && command -v perf >/dev/null &&
  perf record -q -e cpu-clock -g -o "$work/perf.data" -- true >/dev/null 2>&1; then
  perf=perf
fi

title "An upstream at $address:$port, and clients that hold connections to it"
nginx_config upstream 2 18000 "server {
    listen $address:$port reuseport backlog=8192;
    location / { return 200 \"hello\n\"; }
  }"
start_nginx upstream
wait_for upstream listens $port
[ $perf = perf ] || say "  (without perf, which would say where the CPU time goes)"
say "  ports $low-$high; a short connection for each request, few ports in use:"
load calm

half=$(((high - low + 1) / 2))
hold $address $port $((half * 85 / 100))
say "  $((half * 85 / 100)) connections held, still below half. connect() is as fast as ever, but:"
diagnose before

title "The storm: nearly all ports are in use"
hold $address $port "$low-$high:400"
say "  $(sockets state established dport = :$port) connections held. The same load:"
load kernel
diagnose storm

title "The same load with portpool"
start_poold </dev/null
"${shim[@]}" wrk -t1 -c8 -d1s -H 'Connection: close' "$url" >/dev/null # it meets the destination
load pool "LD_PRELOAD=$build/lib/libportpool.so" "PORTPOOL_SOCKET=$PORTPOOL_SOCKET"
keep_status pool
say "    $(status connects.pool pool) connects took the pool's path, $(status connects.kernel pool) the kernel's"
late=$(status fallbacks.attach_timeout pool)
[ "$late" -eq 0 ] || say "    $late took the kernel's before poold had answered: this machine is busy"
stop_poold

title "True exhaustion: not one port is free, and four workers go on trying"
hold $address $port "$low-$high"
diagnose exhausted
for choice in kernel fail-fast; do
  say "  on_exhaustion = \"$choice\""
  start_poold <<TOML
[[pool]]
on_exhaustion = "$choice"
TOML
  exhaust "${choice/-/_}"
  keep_status "exhausted_${choice/-/_}"
  stop_poold
done

finish
say ""
say "The search grew with every port in use; the pool's claim did not. When nothing is left, failing"
say "fast leaves the CPU to others; only more addresses or fewer connections bring ports back."
