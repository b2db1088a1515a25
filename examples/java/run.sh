#!/usr/bin/env bash
# A reverse proxy in Java, on the kernel's own path and with portpool.
# shellcheck source-path=SCRIPTDIR source=../common/proxy.sh
source "$(dirname "$0")/../common/proxy.sh"

start_proxy() {
  [ -e "$work/ReverseProxy.class" ] || javac -d "$work" "$here/ReverseProxy.java"
  start proxy "$@" java -cp "$work" ReverseProxy 8080 http://127.0.0.1:9001
}

compare "java javac" "$@"
