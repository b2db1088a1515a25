#!/usr/bin/env bash
# portpool on other kernels:   tests/kernels.sh [-R EXPRESSION] [VERSION...]       (no VERSION: 6.1)
#
#   5.10 Debian 11's   6.1 Debian 12's   6.12 Debian 12's backports
#
# Debian's package of the kernel is unpacked, not installed, and started by qemu, which emulates the
# processor: there the build's own poold, library and tests run (build/release; what is missing is
# built), besides `poold doctor` and a short bench_connect. Where the kernel has no
# IP_LOCAL_PORT_RANGE the tests of the bind strategy run, else those of both. -R: of these tests, those
# whose names match. The whole output is build/kernels/VERSION.log.
# Packages: qemu-system-x86, busybox-static; network: Debian's archive.
# Exit status: 0 all passed, 1 not, 2 wrong usage, 77 something is not installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=tests/support/needs.sh
. tests/support/needs.sh
needs qemu-system-x86_64 busybox xz file strip

declare -A releases=([5.10]=bullseye [6.1]=bookworm [6.12]=bookworm-backports)
programs=(integration_{connect_paths,connect_errors,connect_again,last_ports,bind_deferred,early_bind}
  integration_{own_pin,other_sockets,semantics,daemon_trouble})
kernel_tests='^(SockDiag|Features|Netns|Sysctl|ProcNet|SocketFilter)'
longest=2400    # seconds, for a kernel
longest_test=180 # seconds; the processor is emulated, and some tests wait

only=
if [ "${1:-}" = -R ]; then
  only=${2:?kernels: -R needs an expression}
  shift 2
fi
versions=("${@:-6.1}")
for version in "${versions[@]}"; do
  [ -n "${releases[$version]:-}" ] || {
    echo "kernels: no kernel '$version'; there are: ${!releases[*]}" >&2
    exit 2
  }
done
build=$PWD/build/release
work=$PWD/build/kernels
mkdir -p "$work"

cmake --preset release --log-level=WARNING
cmake --build --preset release --target poold portpool bench_connect portpool_kernel_tests "${programs[@]}"

# tests_for REGULAR_EXPRESSION: a line for each of ctest's tests: name, tab, command for a shell.
tests_for() {
  ctest --test-dir "$build" --show-only=json-v1 -R "$1" | python3 -c 'if True:
    import json, shlex, sys
    for test in json.load(sys.stdin)["tests"]:
        values = {p["name"]: p["value"] for p in test["properties"]}
        print(test["name"], shlex.join(["env", *values.get("ENVIRONMENT", []), *test["command"]]), sep="\t")'
}

# into ROOT FILE...: copies programs, and the libraries that they need, to the same places.
into() {
  local root=$1 file
  shift
  for file in "$@" $(ldd "$@" 2>/dev/null | sed -n -E 's/^.*(=> |\t)(\/[^ ]+) .*$/\2/p' | sort -u); do
    [ ! -e "$root/$file" ] || continue
    mkdir -p "$root/$(dirname "$file")"
    cp -L "$file" "$root/$file"
    ! file -b "$file" | grep -q '^ELF' || strip --strip-debug "$root/$file"
  done
}

# make_root ROOT IMAGE: what the kernel starts with.
make_root() {
  local root=$1 image=$2 tree modules program
  rm -rf "$root"
  for tree in bin sbin lib lib64; do
    mkdir -p "$root/usr/$tree"
    ln -s "usr/$tree" "$root/$tree"
  done
  mkdir -p "$root"/{proc,sys,dev,tmp,run,root,etc}
  echo 'root:x:0:0::/root:/bin/sh' >"$root/etc/passwd"
  echo '127.0.0.1 localhost' >"$root/etc/hosts"
  into "$root" "$(command -v busybox)" /bin/bash "$(PATH=$PATH:/sbin command -v ip)" "$build/bin/poold" \
    "$build/bin/bench_connect" "$build/lib/libportpool.so" "$build/tests/unit/kernel/portpool_kernel_tests"
  for program in "${programs[@]}"; do into "$root" "$build/tests/$program"; done
  chroot "$root" "$(command -v busybox)" --install -s /bin 2>/dev/null
  ln -sf /bin/busybox "$root/sbin/modprobe"
  modules=$(basename "$image"/lib/modules/*)
  mkdir -p "$root/lib/modules/$modules/kernel/drivers"
  cp -r "$image/lib/modules/$modules/kernel/net" "$root/lib/modules/$modules/kernel/"
  cp -r "$image/lib/modules/$modules/kernel/drivers/net" "$root/lib/modules/$modules/kernel/drivers/"
  find "$root/lib/modules" -name '*.xz' -exec xz -d {} +
  busybox depmod -b "$root" "$modules"
  install -m 755 tests/kernels/guest.sh "$root/init"
}

# run VERSION: prints its part of the summary; fails when a test has failed, or there was no end.
run() {
  local version=$1 image root=$work/$1 log=$work/$1.log expression start=$SECONDS
  image=$(python3 tests/foreign/debian.py kernel "$work" "${releases[$version]}")
  make_root "$root" "$image"
  expression=$(IFS='|' && echo "^(${programs[*]})\\.")
  tests_for "$expression|$kernel_tests" | grep -E "^[^	]*($only)[^	]*	" >"$root/kernels.tests"
  printf 'BUILD=%q\nSECONDS_EACH=%q\n' "$build" "$longest_test" >"$root/kernels.env"
  (cd "$root" && find . | busybox cpio -o -H newc 2>/dev/null) | gzip -1 >"$root.initramfs"
  timeout -k 5 "$longest" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 2048 -nodefaults \
    -display none -no-reboot -serial stdio -kernel "$image"/boot/vmlinuz-* -initrd "$root.initramfs" \
    -append "console=ttyS0 quiet panic=-1 no_timer_check random.trust_cpu=on" </dev/null >"$log.raw" || true
  tr -d '\r' <"$log.raw" >"$log"
  rm "$log.raw"
  rm -rf "$root" "$root.initramfs"
  sed -n '/^== kernel/,/^== tests/p; /^== figures/,/^== end/p' "$log"
  local passed failed skipped
  passed=$(grep -c '^== passed ' "$log") || true
  failed=$(grep -c '^== failed ' "$log") || true
  skipped=$(grep -c '^== skipped ' "$log") || true
  echo "== $version: $passed passed, $failed failed, $skipped skipped; $((SECONDS - start)) s; $log"
  grep '^== \(failed\|skipped\) ' "$log" || true
  if ! grep -q '^== end' "$log"; then
    echo "== $version: did not come to an end; the last lines:"
    tail -n 20 "$log"
    return 1
  fi
  [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}

status=0
for version in "${versions[@]}"; do
  run "$version" || status=1
done
exit "$status"
