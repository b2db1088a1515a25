#!/usr/bin/env bash
# nginx as a reverse proxy without upstream keep-alive, on the kernel's own path and with portpool.
# shellcheck source-path=SCRIPTDIR source=../common/proxy.sh
source "$(dirname "$0")/../common/proxy.sh"

start_proxy() {
  sed "s|@WORK@|$work|g" "$here/nginx.conf" >"$work/nginx.conf"
  start proxy "$@" nginx -p "$work" -c "$work/nginx.conf" -e "$work/proxy.log"
}

compare "" "$@"
