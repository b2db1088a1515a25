#!/usr/bin/env bash
# poold as a sidecar, like two containers of a pod: nginx without and with the pool.
#
# poold and the program have mount, process, IPC and user namespaces of their own. They share the
# network namespace and one folder, with the library and the socket.
# shellcheck source-path=SCRIPTDIR source=../common/proxy.sh
source "$(dirname "$0")/../common/proxy.sh"

# container FOLDER COMMAND...: with the shared folder at FOLDER. For `start` alone: it does not return.
container() {
  local place=$1
  shift
  exec unshare --mount --pid --ipc --user --map-root-user --fork --kill-child --mount-proc \
    sh -c 'mount --bind "$1" "$2" && shift 2 && exec "$@"' sh "$work/shared" "$place" "$@"
}

start_proxy() {
  mkdir -p "$work/shared"
  sed "s|@WORK@|$work|g" "$here/../nginx/nginx.conf" >"$work/nginx.conf"
  start proxy container /mnt "$@" nginx -p "$work" -c "$work/nginx.conf" -e "$work/proxy.log"
}

run_with_portpool() {
  cp "$build/lib/libportpool.so" "$work/shared"
  start poold container /srv "$poold" serve --socket /srv/poold.sock
  wait_for poold "$poold" status --socket "$work/shared/poold.sock"
  run_once "with portpool" env LD_PRELOAD=/mnt/libportpool.so PORTPOOL_SOCKET=/mnt/poold.sock
  "$poold" status --json --socket "$work/shared/poold.sock" >"$work/status.json"
}

compare "" "$@"
