#!/usr/bin/env bash
# service-address: a socket load balancer rewrites the destination inside connect(), so the ports of
# the service address say nothing. portpool finds out, and leaves such connects to the kernel.
#
# It needs root, cgroup2, and the right to load a BPF program. Where one is missing it says so and
# ends with 2.
set -euo pipefail
# shellcheck source=../common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
begin_incident "nginx" "$@"

service=10.96.0.10:80
count=$([ -n "$quick" ] && echo 500 || echo 3000)

# connect LABEL DESTINATION [COMMAND...]
connect() {
  local label=$1 destination=$2
  shift 2
  python3 "$here/rewrite.py" --hide $service 127.0.0.1:9001 "$@" \
    python3 "$here/client.py" "$destination" "$count" >"$work/outcome" 2>"$work/connect.log" || {
    local status=$?
    cat "$work/connect.log"
    [ $status -ne 77 ] || exit 2
    exit 1
  }
  fact "$label" "$(cat "$work/outcome")"
  say "  $count connects to $destination: $(cat "$work/outcome")"
}

# told LABEL: what poold says of them
told() {
  keep_status "$1"
  say "  by the pool $(status connects.pool "$1"), claims refused $(status rejections "$1"), left to the" \
    "kernel as rewritten $(status fallbacks.rewritten "$1")"
}

title "A service with two backends, 1,950 of 2,000 ports toward each in use"
echo "20000 21999" >/proc/sys/net/ipv4/ip_local_port_range
# Elsewhere a default route leads there; nobody has the address.
ip route add 10.96.0.0/12 dev lo src 127.0.0.1
nginx_config server 1 4096 "server { listen 9001; listen 9002; }"
start_nginx server
wait_for server listening 9002
for port in 9001 9002; do hold 127.0.0.1 $port 1950; done

title "By the kernel alone"
connect kernel $service

title "With portpool"
start_poold </dev/null
connect first $service "${shim[@]}"
told first
say "  and again, by a new process:"
connect second $service "${shim[@]}"
told second
diagnose service
"$poold" status | grep "^Rewritten" | sed 's/^/  poold status: /'

title "The same program, told of a backend's own address"
connect backend 127.0.0.1:9001 "${shim[@]}"
told backend

finish
say ""
say "A rewritten connect takes a port of whichever backend it comes to. No lane can know which; so"
say "the kernel does it, as before, and what the pool costs is a few refused claims every ten seconds."
