#!/usr/bin/env bash
# Builds the Debian packages, and walks with them through a booted Debian: see walk.sh.
#
#   tests/packages/packages.sh [BUILD]      (build/release)
#
# Needs root, debootstrap, systemd-nspawn, lintian, dpkg-dev and a package mirror; exits with 77 (skipped)
# where one of them is missing. The root is made in a temporary folder and removed; it has a network
# namespace of its own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
build=$(realpath "${1:-build/release}")

# shellcheck source=tests/support/needs.sh
. tests/support/needs.sh
needs_root
needs debootstrap systemd-nspawn lintian dpkg-shlibdeps cpack

work=$(mktemp -d "${TMPDIR:-/tmp}/portpool-packages.XXXXXX")
place=$work/root
machine=portpool-$$
clean_up() {
  # Cgroups of the container, where nobody else does it.
  find /sys/fs/cgroup -depth -type d -path "*/$machine*" -exec rmdir {} + 2>/dev/null || true
  rm -rf --one-file-system "$work"
}
trap clean_up EXIT

# pack VERSION FOLDER [SETTING...]: packages of this version in FOLDER.
pack() {
  local version=$1 folder=$2
  shift 2
  cpack --config "$build/CPackConfig.cmake" -B "$folder" -G DEB -D CPACK_PACKAGE_VERSION="$version" \
    -D CPACK_DEBIAN_POOLD_PACKAGE_DEPENDS="libportpool1 (= $version), adduser" "$@" \
    >"$work/cpack.log" 2>&1 || { tail -n 20 "$work/cpack.log"; return 1; }
  rm -rf "$folder/_CPack_Packages"
}
# Below any prefix, and moved afterwards: the program finds its library.
DESTDIR="" cmake --install "$build" --prefix "$work/first" >/dev/null
mv "$work/first" "$work/second"
for file in bin/poold lib/systemd/system/poold.service etc/portpool/poold.toml share/man/man8/poold.8.gz \
  share/man/man5/poold.toml.5.gz share/man/man7/libportpool.7.gz \
  share/doc/poold/docs/runbooks.md share/bash-completion/completions/poold share/portpool/client.conf; do
  [ -e "$work/second/$file" ] || { echo "packages: cmake --install leaves out $file"; exit 1; }
done
grep -q "^ExecStart=$work/first/bin/poold serve --config $work/first/etc/portpool/poold.toml$" \
  "$work/second/lib/systemd/system/poold.service"
# shellcheck disable=SC2016
unshare --net "$work/second/bin/poold" run -- sh -c 'grep -q "$0" /proc/self/maps' "$work/second/lib/.*libportpool.so"

version=$(sed -n 's/^set(CPACK_PACKAGE_VERSION "\(.*\)")/\1/p' "$build/CPackConfig.cmake")
pack "$version" "$work/debs"
pack "$version+next" "$work/next" -D "CPACK_COMPONENTS_ALL=poold;libportpool1"
ls -l "$work/debs"
lintian --fail-on error "$work"/debs/*.deb

# Nothing tells where it was built, not even the debug information, which is compressed in the packages.
for file in "$build/bin/poold" "$build/lib/libportpool.so"; do
  ! grep -qaF "$PWD" "$file" || { echo "packages: $file tells where it was built"; exit 1; }
done
# From the same build the same packages.
pack "$version" "$work/again"
for deb in "$work"/debs/*.deb; do
  cmp "$deb" "$work/again/${deb##*/}"
done
rm -r "$work/again"
# The debug information of each program and library is in its own package, and nowhere else.
for package in "$work"/debs/*-dbgsym*.deb; do
  dpkg-deb --extract "$package" "$work/unpacked"
  dpkg-deb --extract "${package/-dbgsym/}" "$work/unpacked"
done
find "$work/unpacked" -type f ! -path '*/lib/debug/*' -exec sh -c 'readelf -h "$1" >/dev/null 2>&1 && echo "$1"' - {} \; >"$work/binaries"
[ "$(wc -l <"$work/binaries")" -ge 2 ]
while read -r binary; do
  readelf --sections --wide "$binary" | grep -q '\.debug_' && { echo "packages: $binary is not stripped"; exit 1; }
  id=$(readelf --notes --wide "$binary" | sed -n 's/.*Build ID: //p')
  debug=$work/unpacked/usr/lib/debug/.build-id/${id:0:2}/${id:2}.debug
  [ "$(readelf --notes --wide "$debug" 2>/dev/null | sed -n 's/.*Build ID: //p')" = "$id" ]
  readelf --sections --wide "$debug" 2>/dev/null | grep -q '\.debug_line'
  echo "packages: ${binary#"$work/unpacked"}: $(stat -c %s "$binary") bytes, its debug information $(stat -c %s "$debug")"
done <"$work/binaries"
# What a debugger says of a place in the program, with the package and without.
if command -v gdb >/dev/null; then
  for folder in "$work/unpacked/usr/lib/debug" "$work/none"; do
    gdb -nx -batch -ex "set debug-file-directory $folder" -ex "file $work/unpacked/usr/bin/poold" -ex 'info line main' || true
  done >"$work/gdb" 2>&1
  grep -q '^Line [0-9]* of ".*main.cpp" starts at address' "$work/gdb" && grep -q 'not defined' "$work/gdb" ||
    { cat "$work/gdb"; exit 1; }
fi
rm -r "$work/unpacked"

# shellcheck disable=SC1091
release=$(. /etc/os-release && echo "${VERSION_CODENAME}")
echo "packages: makes a root of $release"
make_root() {
  # PORTPOOL_ROOT: such a root, made before.
  if [ -n "${PORTPOOL_ROOT:-}" ]; then
    cp -a "$PORTPOOL_ROOT" "$place"
    return
  fi
  debootstrap --variant=minbase \
    --include=systemd-sysv,dbus,init-system-helpers,iproute2,curl,nginx-light,adduser \
    "$release" "$place" >"$work/debootstrap.log" 2>&1
}
make_root || { tail -n 3 "$work/debootstrap.log"; skip "no root can be made"; }
mkdir "$place/debs" "$place/debs/next"
rm -f "$work"/debs/{lib32portpool1,*-dbgsym}*.deb
cp "$work"/debs/*.deb "$place/debs"
cp "$work"/next/*.deb "$place/debs/next"
# What they depend on, while there is a network.
cp /etc/resolv.conf "$place/etc/" 2>/dev/null || true
cp -r /etc/apt/apt.conf.d/. "$place/etc/apt/apt.conf.d/"
chroot "$place" sh -c 'apt-get install --yes --download-only --no-install-recommends /debs/*.deb' \
  >"$work/download.log" 2>&1 || { tail -n 5 "$work/download.log"; exit 1; }
cat >"$place/etc/nginx/nginx.conf" <<'END'
user www-data;
events { }
http {
  access_log off;
  server { listen 127.0.0.1:80; location / { proxy_pass http://127.0.0.1:8080; } }
  server { listen 127.0.0.1:8080; location / { return 200 "hello\n"; } }
}
END
cp tests/packages/{walk,unit}.sh "$place/"
cat >"$place/etc/systemd/system/walk.service" <<'END'
[Unit]
After=nginx.service
[Service]
Type=oneshot
ExecStart=/bin/bash -c '/bin/bash /walk.sh >/walk.log 2>&1; systemctl --no-block poweroff'
TimeoutStartSec=600
[Install]
WantedBy=multi-user.target
END
ln -s /etc/systemd/system/walk.service "$place/etc/systemd/system/multi-user.target.wants/walk.service"

echo "packages: boots it"
timeout 700 systemd-nspawn --quiet --register=no --keep-unit --machine "$machine" --directory "$place" \
  --private-network --boot >"$work/boot.log" 2>&1 </dev/null || true
# Nothing of ours is installed before the walk begins.
cat "$place/walk.log" 2>/dev/null || { tail -n 30 "$work/boot.log"; skip "a container cannot be booted here"; }
[ "$(tail -n 1 "$place/walk.log")" = "walk: all is well" ]
