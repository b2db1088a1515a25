# shellcheck shell=bash disable=SC2034
# For run.sh of each example: one proxy, measured on the kernel's own path and with portpool, while
# more than half of the ports toward its upstream are held.
#
#   wrk -> proxy 127.0.0.1:8080 -> upstream 127.0.0.1:9001 <- held connections
#
# run.sh sources this file, defines start_proxy and calls `compare`. start_proxy is called with a
# prefix for the proxy's command (nothing, or `poold run ... --`) and starts it with `start proxy`.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scene.sh
. "$(dirname "${BASH_SOURCE[0]}")/scene.sh"

# compare TOOLS ARGUMENT...: TOOLS are the programs that this proxy needs, in one word.
compare() {
  if ! is_inside; then
    begin "" "nginx wrk curl $1" "${@:2}"
    need_files 16000
    inside "$work" "$0"
    exit 0
  fi
  enter
  local low=32768 high=60999 held=14200
  seconds=5
  if [ -n "$quick" ]; then
    low=20000 high=29999 held=5200 seconds=1
  fi
  echo "$low $high" >/proc/sys/net/ipv4/ip_local_port_range
  nginx_config upstream 1 19000 'server {
    listen 127.0.0.1:9001 backlog=4096;
    location / { return 200 "hello\n"; }
  }'
  start_nginx upstream
  wait_for upstream answers 9001
  hold 127.0.0.1 9001 "$held"
  say "$held of the $((high - low + 1)) ports toward the upstream are held."
  run_once "kernel's own path"
  run_with_portpool
  check_use
}

answers() { curl --silent --fail --max-time 5 "http://127.0.0.1:$1/"; }

# run_once NAME PREFIX...: the proxy under load
run_once() {
  local name=$1 before=${#started[@]}
  shift
  start_proxy "$@"
  wait_for "the proxy" answers 8080
  wrk -t1 -c32 -d1s http://127.0.0.1:8080/ >/dev/null # warms up; the pool meets the destination
  wrk -t1 -c32 -d"${seconds}s" --latency http://127.0.0.1:8080/ >"$work/wrk.txt"
  summary "$name" "$work/wrk.txt"
  stop_started "$before"
}

# What wrk says, as one line.
summary() {
  awk -v name="$1" '
    $1 == "50%" { p50 = $2 }
    $1 == "99%" { p99 = $2 }
    $1 == "Requests/sec:" { rate = $2 }
    END { printf "  %-20s %8d requests/s   p50 %-9s p99 %s\n", name, rate, p50, p99 }' "$2"
}

# The usual way; an example may have another. It leaves status.json.
run_with_portpool() {
  run_once "with portpool" "$poold" run --json "$work/status.json" --
}

# Ends with 1 when the pool was hardly used.
check_use() {
  python3 - "$work/status.json" <<'PYTHON'
import json, sys

status = json.load(open(sys.argv[1]))
pool, kernel = status["connects"]["pool"], status["connects"]["kernel"]
print(f"  {pool} connections got their port from the pool, {kernel} from the kernel")
sys.exit(pool < 100 or pool < kernel)
PYTHON
}
