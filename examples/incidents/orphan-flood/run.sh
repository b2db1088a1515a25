#!/usr/bin/env bash
# orphan-flood: a proxy closes its connections, the far side does not answer the FINs, and sockets
# that nobody holds any more use up the source ports.
set -euo pipefail
# shellcheck source=../common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
begin_incident "nginx wrk nft curl nsenter" "$@"

gateway=10.9.0.1 second=10.9.0.2 peer=10.9.0.9
good=9001 bad=9002
ports="20000 23999" # 4,000, so that few orphans do: their limit is the whole machine's

# through PORT: the status with which the proxy answers one request there
through() { curl -s -o "$work/body" -w '%{http_code}' --max-time 10 "http://127.0.0.1:$1/" || true; }

# ask PORT LABEL: 1,000 requests, of which each takes a port for a minute
ask() {
  local failed=0 answers
  for _ in $(seq 10); do
    answers=$(curl -s --max-time 20 -w '%{http_code}\n' -o "$work/body#1" "http://127.0.0.1:$1/?[1-100]" || true)
    failed=$((failed + 100 - $(grep -c '^200$' <<<"$answers" || true)))
  done
  fact "$2" "{\"asked\": 1000, \"failed\": $failed}"
  say "  1000 requests through the proxy to $peer:$((1000 + $1)): $((1000 - failed)) answered, $failed failed"
}

fin_wait1() { sockets state fin-wait-1 dport = :$bad; }

title "A gateway ($gateway) and a peer ($peer), each in a network namespace of its own"
unshare --net sleep infinity &
peer_pid=$!
started+=("$peer_pid")
wait_for "the peer's namespace" \
  eval '[ "$(readlink /proc/$peer_pid/ns/net)" != "$(readlink /proc/self/ns/net)" ]'
at_peer=(nsenter --net="/proc/$peer_pid/ns/net")
ip link add out type veth peer name in netns "$peer_pid"
ip address add $gateway/24 dev out
ip address add $second/24 dev out
ip link set out up
"${at_peer[@]}" ip address add $peer/24 dev in
"${at_peer[@]}" ip link set in up
"${at_peer[@]}" ip link set lo up
set_sysctl net.ipv4.ip_local_port_range "$ports"

nginx_config peer 1 19000 "server {
    listen $peer:$good backlog=4096;
    listen $peer:$bad backlog=4096;
    location / { return 200 \"hello\n\"; }
  }"
start_nginx peer "${at_peer[@]}"
wait_for peer listens $good $peer
# The proxy asks the peer to keep the connection, and then closes it itself: it sends the first FIN.
nginx_config proxy 1 4096 "proxy_http_version 1.1;
  proxy_set_header Connection keep-alive;
  server { listen 127.0.0.1:8001; location / { proxy_pass http://$peer:$good; } }
  server { listen 127.0.0.1:8002; location / { proxy_pass http://$peer:$bad; } }"
start_nginx proxy
proxy=${started[-1]}
wait_for proxy listens 8001
# Not from the gateway's own address: the TIME-WAIT that stays behind would blur the picture.
directly=$(curl -s -o "$work/body" -w '%{http_code}' --interface $second "http://$peer:$bad/")
say "  $peer:$good answers $(through 8001) through the proxy; $peer:$bad answers $directly"

title "The peer's firewall begins to drop the FINs to port $bad"
"${at_peer[@]}" nft -f - <<NFT
table inet incident {
  chain in {
    type filter hook input priority 0
    tcp dport $bad tcp flags & fin == fin drop
  }
}
NFT
# Until no port is left, however fast this machine is.
for _ in $(seq 60); do
  wrk -t1 -c16 -d1s "http://127.0.0.1:8002/" >>"$work/wrk.txt"
  ! grep -q '^ *Non-2xx' "$work/wrk.txt" || break
done
all_closed() { [ "$(sockets state established dport = :$bad)" -eq 0 ]; }
wait_for "the last answers" all_closed
say "  load for $peer:$bad: $(awk '/ requests in / { n += $1 } END { print n + 0 }' "$work/wrk.txt") requests,\
 $(awk '/Non-2xx or 3xx responses:/ { n += $NF } END { print n + 0 }' "$work/wrk.txt") of them failed"
stuck=$(fin_wait1)
fact stuck "$stuck"
say "    now $stuck sockets are in FIN-WAIT-1 toward it"
sleep 0.5 # the FINs are sent again, in vain
fact alone_bad "\"$(through 8002)\""
fact alone_good "\"$(through 8001)\""
say "  the proxy answers: $(through 8001) for $peer:$good, $(through 8002) for $peer:$bad"
diagnose flood

title "A recipe: shorter timeouts"
set_sysctl net.ipv4.tcp_fin_timeout 5
set_sysctl net.ipv4.tcp_tw_reuse 1
sleep 1
fact stuck_after_recipe "$(fin_wait1)"
say "  in FIN-WAIT-1: $(fin_wait1) of $stuck; the proxy answers $(through 8002) for $peer:$bad"
set_sysctl net.ipv4.tcp_fin_timeout 60
set_sysctl net.ipv4.tcp_tw_reuse 2

title "portpool, with a second source address for that destination"
end "$proxy"
start_poold <<TOML
[[pool]]
name = "slow-peer"
destinations = ["$peer:$bad"]
sources = ["$gateway", "$second"]
TOML
start_nginx proxy "${shim[@]}"
wait_for proxy listens 8001
# The first two connects to a destination take the kernel's path: the second asks for the lane.
works() { [ "$(through "$1")" = 200 ]; }
for _ in 1 2; do through 8001 >/dev/null; done
wait_for "$peer:$bad through the second source address" works 8002
fact pool_bad "\"$(through 8002)\""
fact pool_good "\"$(through 8001)\""
say "  the proxy answers: $(through 8001) for $peer:$good, $(through 8002) for $peer:$bad"
ask 8001 pool_good_load
ask 8002 pool_bad_load
fact second_source "$(sockets src $second dport = :$bad)"
say "  $(sockets src $second dport = :$bad) connections to $peer:$bad are from $second now"
keep_status pool
"$poold" status | awk '/^Lanes/ { show = 1 } show { print "    " $0 }'

# Without this the kernel would keep them, and this namespace, for two minutes more.
ss -K state fin-wait-1 >/dev/null 2>&1 || true
fact left "$(fin_wait1)"
printf '1\n' >/proc/sys/net/ipv4/tcp_orphan_retries

finish
say ""
say "Only the peer can end what it does not answer. Until then its ports stay out of circulation,"
say "other destinations do not notice, and a further source address brings as many ports again."
