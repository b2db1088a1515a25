#!/usr/bin/env bash
# Installs the packages that portpool needs, on Debian 12 or newer and Ubuntu 24.04 or newer.
#
#   packaging/install-deps.sh [build] [test] [lint]      (no argument: build)
#
# Asks apt only when something is missing. Starts no service that comes with a package.
# Exit status: 0 all is there, 2 wrong usage or unknown distribution, else apt's.
set -euo pipefail

build_packages=(g++ cmake ninja-build pkg-config libboost-dev libspdlog-dev libcli11-dev
  libtomlplusplus-dev nlohmann-json3-dev libmnl-dev libncurses-dev prometheus-cpp-dev libgtest-dev
  libbenchmark-dev)
test_packages=(iproute2 tmux procps util-linux musl-tools binutils python3 wrk
  nginx-light libnginx-mod-stream haproxy openjdk-17-jdk-headless nodejs curl
  redis-server redis-tools squid postgresql openssh-client openssh-server prometheus
  nftables vsftpd tnftp gosu mptcpize)
# The reports' test opens them in a browser. Ubuntu has it as a snap only; the test is skipped there.
if ! grep -qsx 'ID=ubuntu' /etc/os-release; then
  test_packages+=(chromium)
fi
lint_packages=(clang clang-format clang-tidy libclang-rt-dev python3-minimal python3-yaml)

wanted=()
for group in "${@:-build}"; do
  case "$group" in
    build) wanted+=("${build_packages[@]}") ;;
    test) wanted+=("${test_packages[@]}") ;;
    lint) wanted+=("${lint_packages[@]}") ;;
    *)
      echo "install-deps: unknown group '$group'; groups are build, test and lint" >&2
      exit 2
      ;;
  esac
done

known_distribution() {
  [ -r /etc/os-release ] || return 1
  local ID="" VERSION_ID=""
  # shellcheck disable=SC1091
  . /etc/os-release
  case "$ID" in
    debian) dpkg --compare-versions "${VERSION_ID:-99}" ge 12 ;;
    ubuntu) dpkg --compare-versions "${VERSION_ID:-0}" ge 24.04 ;;
    *) return 1 ;;
  esac
}

if ! known_distribution; then
  {
    echo "install-deps: this is neither Debian 12 nor Ubuntu 24.04 (or newer); install these by hand"
    echo "(named as in Debian): ${wanted[*]}"
    echo "and set PORTPOOL_SKIP_DEPS=1 for tests/run.sh and .ci/run."
  } >&2
  exit 2
fi

missing=()
for package in "${wanted[@]}"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
    missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "install-deps: needs root (or sudo) to install: ${missing[*]}" >&2
    exit 2
  fi
  as_root=(sudo)
fi

# nginx and prometheus would start listening at once: invoke-rc.d asks policy-rc.d first, and 101 means "do not".
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap '"${as_root[@]}" rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
  "${as_root[@]}" chmod 755 "$policy"
fi

echo "install-deps: installing ${missing[*]}"
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends "${missing[@]}"

# Nor are they to start at the next boot, just because the tests use the programs.
for service in nginx prometheus; do
  case " ${missing[*]} " in
    *" $service "* | *" $service-light "*)
      "${as_root[@]}" systemctl disable "$service" >/dev/null 2>&1 || true
      ;;
  esac
done
