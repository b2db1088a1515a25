#!/usr/bin/env bash
# All cases under one setting, in a network namespace of its own.
#
#   trial.sh NAME PATH RANGE TW_REUSE    PATH is kernel, pool or sources (pool, with second addresses)
set -euo pipefail
# shellcheck source=../common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

name=$1 path=$2 range=$3 reuse=$4
begin_trial "$name"
for address in 10.9.0.9/32 10.9.0.10/32 fd09::9/128 fd09::10/128; do
  ip address add $address dev lo nodad
done
ports=$((${range#* } - ${range% *} + 1))
listens=
for ((port = 9001; port < 9001 + 48 * ports; port++)); do
  listens+="listen [::]:$port ipv6only=off;"
done
nginx_config server 1 4096 "server { $listens }"
start_nginx server
wait_for server listening $((port - 1))
printf '%s\n' "$range" >/proc/sys/net/ipv4/ip_local_port_range
printf '%s\n' "$reuse" >/proc/sys/net/ipv4/tcp_tw_reuse

with=(env)
[ "$path" = kernel ] || with=("${shim[@]}")
case "$path" in
  pool) start_poold </dev/null ;;
  sources)
    start_poold <<TOML
[[pool]]
destinations = ["127.0.0.0/8"]
sources = ["127.0.0.1", "127.0.0.2"]
[[pool]]
destinations = ["10.9.0.9/32"]
sources = ["10.9.0.9", "10.9.0.10"]
[[pool]]
destinations = ["fd09::9/128"]
sources = ["fd09::9", "fd09::10"]
TOML
    ;;
esac
"${with[@]}" python3 "$here/matrix.py" $ports >"$results/$name.json"
if [ "$path" != kernel ]; then
  keep_status "$name"
  cp "$work/status-$name.json" "$results/"
fi
