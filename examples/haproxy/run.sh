#!/usr/bin/env bash
# HAProxy without connection reuse, on the kernel's own path and with portpool.
# shellcheck source-path=SCRIPTDIR source=../common/proxy.sh
source "$(dirname "$0")/../common/proxy.sh"

start_proxy() {
  start proxy "$@" haproxy -db -f "$here/haproxy.cfg"
}

compare haproxy "$@"
