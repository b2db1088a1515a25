#!/usr/bin/env bash
# One trial of run.sh, in a network namespace of its own.
#
#   trial.sh NAME PATH ADDRESS COUNT PACE [SETTING=VALUE...]    see short.py; PATH is kernel or pool
set -euo pipefail
# shellcheck source=../common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

name=$1 path=$2 address=$3 count=$4 pace=$5
shift 5
begin_trial "$name"
for setting in "$@"; do
  printf '%s\n' "${setting#*=}" >"/proc/sys/net/ipv4/${setting%%=*}"
done
more=(10.9.0.10 10.9.0.11)
for one in 10.9.0.9 "${more[@]}"; do
  ip address add "$one/32" dev lo
done
nginx_config server 1 4096 "server {
    listen 9001;
    location / { return 200 \"hello\n\"; }
  }"
start_nginx server
wait_for server listening 9001
with=(env)
if [ "$path" = pool ]; then
  start_poold <<TOML
[[pool]]
destinations = ["10.9.0.9/32"]
sources = ["10.9.0.9", "${more[0]}", "${more[1]}"]
TOML
  with=("${shim[@]}")
fi
"${with[@]}" python3 "$here/short.py" "$address" 9001 "$count" "$pace" >"$results/$name.json"
if [ "$path" = pool ]; then
  keep_status "$name"
  cp "$work/status-$name.json" "$results/"
fi
