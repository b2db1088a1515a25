#!/bin/bash
# The first and only program on the other kernel (tests/kernels.sh): tries what there is, and ends
# the machine. Lines for the summary begin with "== ".
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH HOME=/root TMPDIR=/tmp
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
exec </dev/null >/dev/ttyS0 2>&1
ip link set lo up
ulimit -n 20000
# shellcheck source=/dev/null
. /kernels.env

echo "== kernel $(uname -r)"
"$BUILD/bin/poold" version
echo "== doctor"
"$BUILD/bin/poold" doctor

echo "== tests"
can_pin=$("$BUILD/bin/poold" version | grep -c 'IP_LOCAL_PORT_RANGE *yes')
while IFS=$'\t' read -r name command; do
  case "$name" in
    *.bind_strategy | [A-Z]*) ;;
    *) [ "$can_pin" -eq 1 ] || continue ;;
  esac
  status=0
  timeout -k 5 "$SECONDS_EACH" bash -c "$command" >/tmp/out 2>&1 || status=$?
  if [ "$status" -ne 0 ]; then
    echo "== failed $name (status $status)"
    tail -n 200 /tmp/out
  elif grep -q '^\[  SKIPPED \]' /tmp/out; then
    echo "== skipped $name"
    grep -A1 ': Skipped' /tmp/out
  else
    echo "== passed $name"
  fi
done </kernels.tests

echo "== figures"
timeout -k 5 300 "$BUILD/bin/bench_connect" --occupancy 0,52 --rounds 5 --budget-ms 500
echo "== end"
poweroff -f
