#!/usr/bin/env bash
# The tarball in empty roots, where nothing of what poold was built with is installed.
#
#   tests/packages/tarball.sh [BUILD [RELEASE...]]      (build/release trixie)
#
# RELEASE is a name of Debian's or Ubuntu's, or the folder of a root. Each program and library of the tarball must
# do with glibc 2.36, and with no library but glibc's and those beside it. In each root it is unpacked where
# nobody has thought of, and poold puts a program under the library. Needs root, debootstrap and a package
# mirror; exits with 77 (skipped) where one of them is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
build=$(realpath "${1:-build/release}")
shift $(($# > 0 ? 1 : 0))
releases=("${@:-trixie}")

# shellcheck source=tests/support/needs.sh
. tests/support/needs.sh
fail() {
  echo "tarball: FAILED: $*"
  exit 1
}
needs_root
needs debootstrap

work=$(mktemp -d "${TMPDIR:-/tmp}/portpool-tarball.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
cmake --build "$build" --target tarball >"$work/build.log" 2>&1 || { tail -n 20 "$work/build.log"; exit 1; }
tarball=$(sed -n 's/^-- \(.*\.tar\.gz\)$/\1/p' "$work/build.log")
tar -xzf "$tarball" -C "$work"
name=$(basename "$tarball" .tar.gz)
echo "tarball: $name.tar.gz, $(du -k "$tarball" | cut -f1) KiB; unpacked $(du -sk "$work/$name" | cut -f1) KiB"

newest=$(find "$work/$name" -type f -regex '.*/bin/poold\|.*\.so[.0-9]*' -exec objdump -T {} + |
  grep -o 'GLIBC_2[.0-9]*' | sort -uV | tail -n 1)
echo "tarball: asks for $newest at most"
[ "$(printf '%s\n' "$newest" GLIBC_2.36 | sort -V | tail -n 1)" = GLIBC_2.36 ] || fail "no Debian 12 has $newest"
find "$work/$name/bin/poold" "$work/$name/lib/poold" -type f -exec readelf -d {} + | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | sort -u |
  while read -r library; do
    case $library in
      libc.so.6 | libm.so.6 | ld-linux*) ;;
      *) [ -e "$work/$name/lib/poold/$library" ] || fail "needs $library, which is not in it" ;;
    esac
  done
# Of both sizes, where there are both.
[ "$(readelf -d "$work/$name"/lib*/*/portpool/libportpool.so "$work/$name"/lib*/portpool/libportpool.so 2>/dev/null |
  sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | sort -u)" = libc.so.6 ] || fail "the library needs more than libc"

# perl is in every Debian and Ubuntu.
cat >"$work/job.sh" <<'END'
set -eu
place=/srv/some/where/moved
mkdir -p /srv/some/where
mv "$1" "$place"
bin="$place/bin/poold"
"$bin" version | head -n 3
! ldd "$bin" | grep -E 'not found|=> /(usr/)?lib/.*(stdc|gcc_s|spdlog|fmt|prom|mnl|toml|curses|tinfo)'
"$bin" doctor >/dev/null || [ $? -le 1 ]
cat >/tmp/echo.pl <<'PERL'
use Socket;
socket(my $s, PF_INET, SOCK_STREAM, 0); setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1);
bind($s, sockaddr_in(9001, INADDR_LOOPBACK)) or die "bind: $!"; listen($s, 100);
unless (fork) { while (accept(my $c, $s)) { print $c "hello\n"; close $c } exit }
PERL
cat >/tmp/ask.pl <<'PERL'
use Socket;
for (1 .. 500) {
  socket(my $s, PF_INET, SOCK_STREAM, 0);
  connect($s, sockaddr_in(9001, INADDR_LOOPBACK)) or die "connect: $!";
  <$s> eq "hello\n" or die "no answer";
}
PERL
perl /tmp/echo.pl
"$bin" run --json /tmp/figures -- perl /tmp/ask.pl 2>/tmp/summary || { cat /tmp/summary; exit 1; }
cat /tmp/summary
grep -qE '^portpool: 500 TCP connects, [1-9][0-9]+ of them by the pool' /tmp/summary
"$bin" check-config "$place/etc/portpool/poold.toml" >/dev/null || [ $? -le 2 ]
"$bin" serve --socket /tmp/s & daemon=$!
for i in 1 2 3 4 5 6 7 8 9 10; do "$bin" status --socket /tmp/s >/tmp/status 2>&1 && break; sleep 0.2; done
"$bin" status --socket /tmp/s
"$bin" explain no_lane >/dev/null
kill "$daemon"
wait "$daemon"
echo "all is well"
END

in_root() {
  # shellcheck disable=SC2016
  unshare --mount --pid --net --fork --kill-child sh -c '
    ip link set lo up &&
    mount --bind "$0" "$0" && mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" &&
    exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C chroot "$0" sh -c "$1"' "$1" "$2"
}

for release in "${releases[@]}"; do
  root=$work/root
  rm -rf --one-file-system "$root"
  if [ -d "$release" ]; then
    cp -a "$release" "$root"
  else
    from=()
    # A release of Ubuntu's that this debootstrap does not know; Debian has no keys of theirs.
    [ -e "/usr/share/debootstrap/scripts/$release" ] || from=(http://archive.ubuntu.com/ubuntu gutsy)
    debootstrap --variant=minbase ${from:+--no-check-gpg} "$release" "$root" "${from[@]}" >"$work/debootstrap.log" 2>&1 ||
      { tail -n 3 "$work/debootstrap.log"; skip "no root of $release can be made"; }
  fi
  # shellcheck disable=SC1091
  echo "tarball: $(. "$root/etc/os-release" && echo "$PRETTY_NAME")"
  tar -xzf "$tarball" -C "$root"
  cp "$work/job.sh" "$root/job.sh"
  in_root "$root" "sh /job.sh /$name" >"$work/job.log" 2>&1 || true
  grep -E '^portpool( [0-9]|:)' "$work/job.log" || true
  [ "$(tail -n 1 "$work/job.log")" = "all is well" ] || { cat "$work/job.log"; fail "$release"; }
done
echo "tarball: all is well"
