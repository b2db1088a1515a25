#!/usr/bin/env bash
# A reverse proxy in Node, on the kernel's own path and with portpool.
# shellcheck source-path=SCRIPTDIR source=../common/proxy.sh
source "$(dirname "$0")/../common/proxy.sh"

start_proxy() {
  start proxy "$@" node "$here/proxy.js" 8080 http://127.0.0.1:9001
}

compare node "$@"
