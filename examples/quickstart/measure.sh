#!/usr/bin/env bash
# One measurement, inside a network namespace that nothing else uses (quickstart.sh makes it).
#
#   measure.sh PATH HELD SECONDS BUILD OUT
#
#   PATH     kernel: nginx as it is. pool: under portpool. observe: under portpool's library, which
#            only records how long the kernel's own path takes.
#   HELD     connections to the upstream that are held open, on ports the kernel chose
#   BUILD    folder with bin/poold and lib/libportpool.so
#   OUT      folder for wrk.txt, status.json (pool and observe) and the programs' logs
#
#   wrk -> proxy 127.0.0.1:8080 -> upstream 127.0.0.1:9001 <- held connections
set -euo pipefail

path=$1 held=$2 seconds=$3 build=$4 out=$5
parts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
socket=$out/poold.sock
PATH=$PATH:/usr/sbin:/sbin

started=()
stop_started() {
  # The last first, so that nobody misses an upstream that has gone.
  local i
  for ((i = ${#started[@]} - 1; i >= 0; i--)); do
    kill "${started[i]}" 2>/dev/null || true
    wait "${started[i]}" 2>/dev/null || true
  done
}
trap stop_started EXIT
trap 'exit 143' INT TERM

# As many open files as this user may have.
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
ip link set lo up

# Started as root, nginx would switch its workers to another user, which a user namespace with a
# single user cannot do: there it runs in one more namespace, as nobody in particular.
user='user root;'
as_user=()
if [ "$(id -u)" -eq 0 ] && [ "$(wc -l </proc/self/uid_map)" -eq 1 ] &&
  [ "$(awk '{print $3}' /proc/self/uid_map)" -eq 1 ]; then
  user=
  as_user=(unshare --user)
fi

# nginx_config ROLE WORKERS CONNECTIONS SERVER
nginx_config() {
  cat <<CONFIG
daemon off;
$user
worker_processes $2;
worker_rlimit_nofile $(ulimit -n);
pid $out/$1.pid;
error_log $out/$1.log warn;
events { worker_connections $3; }
http {
  access_log off;
  client_body_temp_path $out/$1.body;
  proxy_temp_path $out/$1.proxy;
  fastcgi_temp_path $out/$1.fastcgi;
  uwsgi_temp_path $out/$1.uwsgi;
  scgi_temp_path $out/$1.scgi;
  # Connections that are held say nothing for as long as the measurement lasts.
  client_header_timeout 1h;
  keepalive_timeout 1h;
  keepalive_requests 1000000000;
  $4
}
CONFIG
}

# start_nginx ROLE [ENVIRONMENT...]
start_nginx() {
  local role=$1
  shift
  env "$@" "${as_user[@]}" nginx -p "$out" -c "$out/$role.conf" -e "$out/$role.log" \
    >"$out/$role.start.log" 2>&1 &
  started+=($!)
}

# wait_for WHAT COMMAND...: until the command succeeds, at most 10 s
wait_for() {
  local what=$1
  shift
  for _ in $(seq 200); do
    "$@" >/dev/null 2>&1 && return 0
    sleep 0.05
  done
  echo "$what did not start" >>"$out/measure.log"
  exit 1
}

listens() { (: <"/dev/tcp/127.0.0.1/$1"); }

nginx_config upstream 1 19000 'server {
    listen 127.0.0.1:9001 backlog=4096;
    location / { return 200 "hello\n"; }
  }' >"$out/upstream.conf"
# reuseport: each worker gets its share of wrk's connections in every run, and not what it wins.
nginx_config proxy 2 2048 'server {
    listen 127.0.0.1:8080 backlog=4096 reuseport;
    location / { proxy_pass http://127.0.0.1:9001; }
  }' >"$out/proxy.conf"

start_nginx upstream
wait_for upstream listens 9001
if [ "$held" -gt 0 ]; then
  python3 "$parts/hold.py" 127.0.0.1 9001 "$held" "$out/held" 2>>"$out/hold.log" &
  started+=($!)
  for _ in $(seq 600); do
    [ -e "$out/held" ] && break
    sleep 0.05
  done
  [ -e "$out/held" ] || {
    echo "the $held connections could not be opened" >>"$out/hold.log"
    exit 1
  }
fi

shim=(LD_PRELOAD="$build/lib/libportpool.so" PORTPOOL_SOCKET="$socket")
if [ "$path" != kernel ]; then
  # The machine's own configuration must not change what is measured.
  echo '# nothing but defaults' >"$out/portpool.toml"
  "$build/bin/poold" serve --config "$out/portpool.toml" --socket "$socket" \
    >"$out/poold.log" 2>&1 &
  started+=($!)
  wait_for poold test -S "$socket"
fi
case "$path" in
  kernel) start_nginx proxy ;;
  pool) start_nginx proxy "${shim[@]}" ;;
  observe) start_nginx proxy "${shim[@]}" PORTPOOL_MODE=observe ;;
esac
wait_for proxy listens 8080

# A short run first: nginx's workers warm up, and the pool meets the destination.
wrk -t2 -c64 -d1s http://127.0.0.1:8080/ >/dev/null
wrk -t2 -c64 -d"${seconds}s" --latency http://127.0.0.1:8080/ >"$out/wrk.txt"
if [ "$path" != kernel ]; then
  PORTPOOL_SOCKET=$socket "$build/bin/poold" status --json >"$out/status.json"
fi
