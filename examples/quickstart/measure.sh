#!/usr/bin/env bash
# One measurement, in namespaces of its own (quickstart.sh makes them). It leaves wrk.txt, and for
# pool and observe status.json.
#
#   measure.sh PATH HELD SECONDS
#
#   PATH     kernel: nginx as it is. pool: under portpool. observe: under portpool's library, which
#            only records how long the kernel's own path takes.
#   HELD     connections to the upstream that are held open, on ports the kernel chose
#
#   wrk -> proxy 127.0.0.1:8080 -> upstream 127.0.0.1:9001 <- held connections
#
# The proxy is one nginx worker with a CPU of its own, as if the others were other machines; with a
# single CPU they share it.
set -euo pipefail
path=$1 held=$2 seconds=$3
# shellcheck source=../common/scene.sh
. "$(dirname "${BASH_SOURCE[0]}")/../common/scene.sh"
enter

# cpus FIRST-OR-REST: which CPUs these are, of those that this shell may use
cpus() {
  python3 -c 'import os, sys
cpus = sorted(os.sched_getaffinity(0))
print(*(cpus[:1] if sys.argv[1] == "first" else cpus[1:] or cpus), sep=",")' "$1"
}
proxy_cpu=$(cpus first)
taskset -cp "$(cpus rest)" $$ >/dev/null

nginx_config upstream 1 19000 'server {
    listen 127.0.0.1:9001 backlog=4096;
    location / { return 200 "hello\n"; }
  }'
nginx_config proxy 1 2048 'server {
    listen 127.0.0.1:8080 backlog=4096;
    location / { proxy_pass http://127.0.0.1:9001; }
  }'

start_nginx upstream
wait_for upstream listens 9001
[ "$held" -eq 0 ] || hold 127.0.0.1 9001 "$held"
[ "$path" = kernel ] || start_poold </dev/null
case "$path" in
  kernel) prefix=() ;;
  pool) prefix=("${shim[@]}") ;;
  observe) prefix=("${shim[@]}" PORTPOOL_MODE=observe) ;;
esac
start_nginx proxy "${prefix[@]}" taskset -c "$proxy_cpu"
wait_for proxy listens 8080

# A short run first: nginx's workers warm up, and the pool meets the destination.
wrk -t1 -c64 -d1s http://127.0.0.1:8080/ >/dev/null
wrk -t1 -c64 -d"${seconds}s" --latency http://127.0.0.1:8080/ >"$work/wrk.txt"
[ "$path" = kernel ] || "$poold" status --json >"$work/status.json"
