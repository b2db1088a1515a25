#!/usr/bin/env bash
# Everything at once, for long: real programs under the library, and faults of every kind among them.
#
#   tests/soak.sh MINUTES [SEED]
#
# nginx, HAProxy, a Java proxy, curl, Erlang and workers whose bytes prove which connection they are on
# work all the time, while poold is ended, killed, stopped, reloaded and replaced, clients are killed,
# ports run out, settings and addresses change, and floods come (tests/soak/faults.py). After each fault all
# comes to rest, and the lanes must equal the kernel's table and the counters add up. Memory and
# descriptors of poold and of the programs that live all the time must not grow
# (tests/soak/watch.py).
#
# It prints a table of the faults, the figures of memory and descriptors, and the seed, which gives the same
# choices again; 1 where something was not as it must be. SOAK_BUILD: the folder of the build
# (build/release). SOAK_FAULTS: only these, by their functions in faults.py ("stopped,taken_over").
# Needs root. All is done in namespaces of its own, which take everything down with them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=tests/support/needs.sh
. tests/support/needs.sh
needs_root
needs unshare nginx haproxy java javac escript curl ip

[ $# -ge 1 ] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2; }
build=$(realpath "${SOAK_BUILD:-build/release}")
for file in bin/poold lib/libportpool.so tests/stress_test tests/floods; do
  [ -e "$build/$file" ] || skip "needs $build/$file"
done
export PORTPOOL_TEST_POOLD=$build/bin/poold PORTPOOL_TEST_SHIM=$build/lib/libportpool.so
export SOAK_GUESTS=$build/tests PYTHONDONTWRITEBYTECODE=1
folder=$(mktemp -d "${TMPDIR:-/tmp}/portpool-soak.XXXXXX")
chmod 755 "$folder"
faults=${SOAK_FAULTS:-}
read -ra faults <<<"${faults//,/ }"
unshare --net --mount-proc --pid --fork --kill-child \
  /usr/bin/python3 tests/soak/soak.py "$folder" "$1" "${2:-$RANDOM}" "${faults[@]}" &
soak=$!
trap 'kill -KILL $soak 2>/dev/null || true; wait $soak || true; rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM HUP
wait $soak
