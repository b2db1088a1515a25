#!/usr/bin/env bash
# Walks a newcomer's path: in an empty Debian root, the README's first command as it is printed there.
#
#   tests/newcomer.sh [RELEASE] [COMMAND...]
#
# RELEASE is a name of Debian's or Ubuntu's (bookworm); COMMAND what to run in a copy of this tree
# (examples/quickstart.sh). The root is made by debootstrap in a temporary folder and removed.
# What is committed is what is tried. It says how long each step took and what was installed, and
# fails when the command fails, or when a service is enabled or a process left that was not before.
# Needs root, debootstrap and a package mirror. PORTPOOL_KEEP_ROOT=1 leaves the folder in place.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
release=${1:-bookworm}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- examples/quickstart.sh

[ "$(id -u)" -eq 0 ] || { echo "newcomer: needs root" >&2; exit 2; }
command -v debootstrap >/dev/null || { echo "newcomer: needs debootstrap (apt-get install debootstrap)" >&2; exit 2; }

work=$(mktemp -d "${TMPDIR:-/tmp}/portpool-newcomer.XXXXXX")
place=$work/root
clean_up() {
  [ -n "${PORTPOOL_KEEP_ROOT:-}" ] || rm -rf --one-file-system "$work"
}
trap clean_up EXIT

step() {
  local name=$1 start=$SECONDS
  shift
  "$@" || { echo "newcomer: $name failed after $((SECONDS - start)) s" >&2; return 1; }
  echo "newcomer: $name took $((SECONDS - start)) s"
}

make_root() {
  debootstrap --variant=minbase "$release" "$place" >"$work/debootstrap.log" 2>&1 ||
    { tail -n 5 "$work/debootstrap.log" >&2; return 1; }
  # The mirrors and their settings are this machine's.
  cp /etc/resolv.conf "$place/etc/" 2>/dev/null || true
  cp -r /etc/apt/apt.conf.d/. "$place/etc/apt/apt.conf.d/"
  mkdir "$place/portpool"
  git archive HEAD | tar -x -C "$place/portpool"
}

# Everything of the root runs in mount and process namespaces of its own: nothing can be left. The
# root is made the namespace's own (pivot_root), since in a chroot nobody may make further ones.
in_root() {
  # shellcheck disable=SC2016
  unshare --mount --pid --fork --kill-child sh -c '
    mount --bind "$0" "$0" && cd "$0" && mkdir -p old &&
    mount -t proc proc proc && mount --rbind /sys sys && mount --rbind /dev dev &&
    pivot_root . old && umount -l /old && rmdir /old &&
    exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb sh -c "$1"
  ' "$place" "$1"
}

# But for what systemd itself brings: whether a machine has systemd is its own business.
enabled() {
  {
    find "$place/etc/systemd/system" -mindepth 2 -type l -path '*.wants/*' -printf '%f\n' 2>/dev/null
    find "$place"/etc/rc[2-5S].d -name 'S*' -printf '%f\n' 2>/dev/null
  } | sed -E 's/@[^.]+/@/' |
    grep -v -x -F -f <(in_root "dpkg -L init-system-helpers systemd 2>/dev/null" | sed 's,.*/,,') | sort
}
packages() { in_root "dpkg-query -W -f '\${Package}\n'" | sort; }

step "making an empty root of $release" make_root
packages >"$work/packages.before"
enabled >"$work/enabled.before"

status=0
step "$*" in_root "cd /portpool && $* && { echo 'newcomer: processes left:'; ps -e -o pid=,comm= | grep -v -E ' (sh|ps|grep)$'; true; }" || status=1

packages >"$work/packages.after"
enabled >"$work/enabled.after"
echo "newcomer: $(comm -13 "$work/packages.before" "$work/packages.after" | wc -l) packages installed, $(du -sm --one-file-system "$place" | cut -f1) MB in the root"
if ! diff "$work/enabled.before" "$work/enabled.after" >"$work/enabled.diff"; then
  echo "newcomer: enabled now and not before, or the reverse:" >&2
  cat "$work/enabled.diff" >&2
  status=1
fi
exit "$status"
