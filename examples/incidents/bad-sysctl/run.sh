#!/usr/bin/env bash
# bad-sysctl: recipes on the web against "too many TIME-WAIT", and what each line of them does on
# this kernel.
set -euo pipefail
# shellcheck source=../common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
begin_incident "nginx mount" "$@"

near=127.0.0.1 far=10.9.0.9 # far is an address of lo too, but not of loopback

# of TRIAL FIELD
of() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$work/$1.json" "$2"; }

title "A recipe, as found on the web: /etc/sysctl.d/99-recipe.conf (seen only by this run)"
mkdir "$work/sysctl.d"
cat >"$work/sysctl.d/99-recipe.conf" <<'RECIPE'
net.ipv4.tcp_tw_recycle = 1
net.ipv4.tcp_max_tw_buckets = 100
net.ipv4.tcp_fin_timeout = 5
net.ipv4.tcp_tw_reuse = 1
net.ipv4.ip_local_port_range = 1024 65534
RECIPE
mount --bind "$work/sysctl.d" /etc/sysctl.d
while read -r name _ value; do
  if [ -e "/proc/sys/${name//./\/}" ]; then
    set_sysctl "$name" "$value"
  else
    say "  sysctl -w $name=\"$value\""
    say "    no such setting in Linux $(uname -r)"
  fi
done <"$work/sysctl.d/99-recipe.conf"
nginx_config server 1 4096 "server {
    listen 9001;
    location / { return 200 \"hello\n\"; }
  }"
start_nginx server
wait_for server listening 9001
say "  after 1000 connections that the client closed:"
python3 "$here/short.py" $near 9001 1000 0 >"$work/recipe.json"
diagnose recipe
fact recipe "$(cat "$work/recipe.json")"
umount /etc/sysctl.d

title "What each line does, measured: a namespace for each, all other settings untouched"
hundred="ip_local_port_range=30000 30099"
start_trial trial-buckets kernel $near 1000 0 tcp_max_tw_buckets=100
start_trial trial-fin kernel $near 200 0 tcp_fin_timeout=5
for reuse in 0 1 2; do
  start_trial trial-reuse-$reuse-near kernel $near 200 80 "$hundred" tcp_tw_reuse=$reuse
  start_trial trial-reuse-$reuse-far kernel $far 200 80 "$hundred" tcp_tw_reuse=$reuse
done
start_trial trial-odd-kernel kernel $near 3 hold "ip_local_port_range=30000 30002"
start_trial trial-odd-pool pool $near 3 hold "ip_local_port_range=30000 30002"
start_trial trial-even-kernel kernel $near 4 hold "ip_local_port_range=30000 30003"
start_trial trial-portpool pool $far 200 80 "$hundred"
wait_for_trials
for file in "$work"/trial-*.json; do
  fact "$(basename "$file" .json)" "$(cat "$file")"
done
fact recycle_exists "$([ -e /proc/sys/net/ipv4/tcp_tw_recycle ] && echo true || echo false)"
say "  tcp_tw_recycle      absent since 4.12; before, it dropped clients behind a NAT"
say "  tcp_max_tw_buckets  =100: of 1000 connections $(of trial-buckets overflows) ended without TIME-WAIT, $(of trial-buckets time_wait) have it"
say "  tcp_fin_timeout     =5: $(of trial-fin time_wait) of 200 in TIME-WAIT, the youngest for $(of trial-fin seconds_left) s more: not shortened"
say "  tcp_tw_reuse        100 ports, 200 connections at 80/s to one destination; how many work:"
say "                        value   to loopback   elsewhere"
for reuse in 0 1 2; do
  printf '                        %5s   %11s   %9s\n' $reuse \
    "$(of trial-reuse-$reuse-near worked)" "$(of trial-reuse-$reuse-far worked)"
done
say "  ip_local_port_range of 3 ports (an odd number): the kernel uses $(of trial-odd-kernel worked) of them, portpool $(of trial-odd-pool worked);"
say "                      of 4 ports the kernel uses $(of trial-even-kernel worked)"

title "The same load elsewhere, no setting touched, portpool with three source addresses"
say "  kernel:   $(of trial-reuse-2-far worked) of 200 worked"
say "  portpool: $(of trial-portpool worked) of 200 worked, and $(of trial-portpool time_wait) are in TIME-WAIT as they should be"

finish
say ""
say "tcp_tw_reuse=1 is the one line that helps outgoing connections, and widening the range to an even"
say "number of ports does no harm. The rest helps nothing, or takes away what TIME-WAIT protects."
