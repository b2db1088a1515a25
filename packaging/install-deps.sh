#!/usr/bin/env bash
# Installs the packages that portpool needs, on Debian 12 or newer and Ubuntu 24.04 or newer.
#
#   packaging/install-deps.sh [--dry-run] [GROUP...]      (no group: build)
#
#   build    what cmake --preset release and cmake --build --preset release need
#   demo     what examples/quickstart.sh and the incidents run; haproxy, java, node, vsftpd, nft:
#            what single examples run besides
#   test     what tests/run.sh needs, demo and the other examples included
#   lint     what .ci/run checks with besides
#
# Asks apt only when something is missing, and says first how much it will fetch and fill. No
# service that a package brings is running or enabled afterwards, unless it was so before.
# --dry-run prints what is missing, one package a line, and changes nothing.
# Exit status: 0 all is there, 2 wrong usage or unknown distribution, else apt's.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

build_packages=(g++ cmake ninja-build pkg-config libboost-dev libspdlog-dev libcli11-dev
  libtomlplusplus-dev nlohmann-json3-dev libmnl-dev libncurses-dev prometheus-cpp-dev libgtest-dev
  libbenchmark-dev)
demo_packages=(iproute2 util-linux procps python3 nginx-light wrk curl)
haproxy_packages=(haproxy)
# Any Java from 17 on will do; releases of Debian and Ubuntu have one of them each.
java_packages=(openjdk-17-jdk-headless/openjdk-21-jdk-headless/default-jdk-headless)
node_packages=(nodejs)
vsftpd_packages=(vsftpd tnftp)
nft_packages=(nftables)
test_packages=("${demo_packages[@]}" "${haproxy_packages[@]}" "${java_packages[@]}" "${node_packages[@]}"
  "${vsftpd_packages[@]}" "${nft_packages[@]}"
  tmux musl-tools binutils libnginx-mod-stream redis-server redis-tools squid postgresql
  poppler-utils openssh-client openssh-server prometheus gosu mptcpize wget nmap keepalived erlang-base
  strace valgrind debootstrap systemd-container lintian dpkg-dev podman buildah crun
  libpython3.11-testsuite/libpython3.12-testsuite/libpython3.13-testsuite/libpython3.14-testsuite)
# For the library for programs of 32 bits.
if [ "$(dpkg --print-architecture 2>/dev/null)" = amd64 ]; then
  test_packages+=(g++-multilib)
fi
# The reports' test opens them in a browser. Ubuntu has it as a snap only; the test is skipped there.
if ! grep -qsx 'ID=ubuntu' /etc/os-release; then
  test_packages+=(chromium)
fi
lint_packages=(clang clang-format clang-tidy libclang-rt-dev python3-minimal python3-yaml)
groups="build demo haproxy java node vsftpd nft test lint"

usage() {
  echo "install-deps: $1; the groups are: $groups" >&2
  exit 2
}

dry_run=
wanted=()
for argument in "$@"; do
  case " $groups " in
    *" $argument "*)
      declare -n packages=${argument}_packages
      wanted+=("${packages[@]}")
      ;;
    *)
      case "$argument" in
        --dry-run) dry_run=1 ;;
        -*) usage "unknown option '$argument'" ;;
        *) usage "unknown group '$argument'" ;;
      esac
      ;;
  esac
done
[ ${#wanted[@]} -gt 0 ] || wanted=("${build_packages[@]}")

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
    echo "(named as in Debian; one of those with / between them): ${wanted[*]}"
    echo "and set PORTPOOL_SKIP_DEPS=1 for tests/run.sh and .ci/run."
  } >&2
  exit 2
fi

is_installed() {
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# The first that is installed, else every name: which of them there is only apt knows.
missing=()
for choice in "${wanted[@]}"; do
  found=
  for package in ${choice//\// }; do
    ! is_installed "$package" || found=1
  done
  [ -n "$found" ] || missing+=("$choice")
done
if [ -n "$dry_run" ]; then
  [ ${#missing[@]} -eq 0 ] || printf '%s\n' "${missing[@]}"
  exit 0
fi
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

"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq

chosen=()
for choice in "${missing[@]}"; do
  for package in ${choice//\// }; do
    if apt-cache show "$package" >/dev/null 2>&1; then
      chosen+=("$package")
      continue 2
    fi
  done
  echo "install-deps: this release has no package ${choice//\// or }" >&2
  exit 2
done

# What starts by itself: units that are wanted by something, and the old kind's start links.
enabled() {
  find /etc/systemd/system -mindepth 2 -type l -path '*.wants/*' -printf '%f\n' 2>/dev/null
  find /etc/rc[2-5S].d -name 'S*' -printf '%f\n' 2>/dev/null | sed -E 's/^S[0-9]+/rc:/'
}
before=$(enabled | sort -u)

# leave_off: what was not enabled before is not to start at the next boot. What systemd itself
# brings is the machine's own business.
leave_off() {
  local name
  while read -r name; do
    case "$name" in
      "") ;;
      rc:*) "${as_root[@]}" update-rc.d "${name#rc:}" disable >/dev/null 2>&1 || true ;;
      *)
        case "$(dpkg-query -S "/lib/systemd/system/${name/@*./@.}" "/usr/lib/systemd/system/${name/@*./@.}" 2>/dev/null)" in
          systemd:* | systemd-*:*) ;;
          *)
            if command -v systemctl >/dev/null; then
              "${as_root[@]}" systemctl disable "$name" >/dev/null 2>&1 || true
            else
              "${as_root[@]}" deb-systemd-helper disable "$name" >/dev/null 2>&1 || true
            fi
            ;;
        esac
        ;;
    esac
  done < <(comm -13 <(printf '%s\n' "$before") <(enabled | sort -u))
}

# No service is started either: invoke-rc.d asks policy-rc.d first, and 101 means "do not".
policy=/usr/sbin/policy-rc.d
policy_is_ours=
log=$(mktemp "${TMPDIR:-/tmp}/portpool-install.XXXXXX")
clean_up() {
  rm -f "$log"
  [ -z "$policy_is_ours" ] || "${as_root[@]}" rm -f "$policy"
  leave_off
}
trap clean_up EXIT
if [ ! -e "$policy" ]; then
  policy_is_ours=1
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
  "${as_root[@]}" chmod 755 "$policy"
fi

echo "install-deps: ${chosen[*]}"
# apt says these two with --assume-no in place of -y, and then ends with an error.
"${as_root[@]}" env LC_ALL=C apt-get install --assume-no --no-install-recommends "${chosen[@]}" 2>/dev/null |
  sed -n -E 's/^[0-9]+ upgraded, ([0-9]+) newly installed.*/install-deps: \1 packages, those that they need included/p
    s/^(Need to get|After this operation)/install-deps: \1/p' || true
status=0
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends "${chosen[@]}" </dev/null >"$log" 2>&1 || status=$?
[ "$status" -eq 0 ] || tail -n 30 "$log" >&2
exit "$status"
