#!/usr/bin/env bash
# one-port: with a port range of one or two ports, which connections still find a port? The same
# ones with portpool as without.
set -euo pipefail
# shellcheck source=../common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
begin_incident "nginx" "$@"

title "One port, and one connection that has it"
echo "32768 32768" >/proc/sys/net/ipv4/ip_local_port_range
say "  ip_local_port_range = 32768 32768"
nginx_config server 1 4096 "server { listen 9001; }"
start_nginx server
wait_for server listening 9001
hold 127.0.0.1 9001 1
diagnose full

title "The matrix: every case in a namespace with few ports, by the kernel and with portpool"
ranges=(even "32768 32768" odd "32769 32769" two "32768 32769")
for ((i = 0; i < ${#ranges[@]}; i += 2)); do
  for reuse in 0 1 2; do
    for path in kernel pool; do
      start_trial "trial-${ranges[i]}-$path-$reuse" $path "${ranges[i + 1]}" $reuse
    done
  done
done
start_trial trial-sources sources "32768 32768" 0
wait_for_trials
say "  One more connect(), to the same destination or another, when 1 or 2 of the ports are in a state"
say "  toward it; ok or - (EADDRNOTAVAIL) with tcp_tw_reuse = 0, 1, 2. Where portpool's outcome is"
say "  another than the kernel's, both are shown. \"far\" is an address that is not loopback."
say ""
python3 "$here/table.py" "$work" "$work/table.json"
fact matrix "$(cat "$work/table.json")"
pool=0
for file in "$work"/status-trial-*-pool-*.json; do
  name=$(basename "$file" .json)
  pool=$((pool + $(status connects.pool "${name#status-}")))
done
fact connects_by_pool "$pool"
python3 - "$work/table.json" "$pool" <<'PYTHON'
import json, sys
sums, pool = json.load(open(sys.argv[1])), int(sys.argv[2])
print(f"\n  {sums['cases']} cases: {sums['kernel_ok']} work and {sums['kernel_refused']} are refused by the"
      f" kernel; with portpool {len(sums['different'])} differ.\n  The pool's path made {pool:,} connections.")
first = sums["first_choices"]
print(f"  Of two free ports the kernel took the even one {first['even']} times, the odd one {first['odd']}.")
relief = sums["second_source"]
print("\n== A second source address in portpool's configuration")
print(f"  one port, tcp_tw_reuse=0: {relief['refused_without']} cases refused without it,"
      f" {relief['refused_with']} with it")
if relief["left"]:
    print(f"  ({', '.join(relief['left'])}: there is only one loopback address, ::1)")
PYTHON

finish
say ""
say "A port is used up for one destination at a time: others go on. An established connection never"
say "gives its port away, TIME-WAIT does after a second, where tcp_tw_reuse allows it."
