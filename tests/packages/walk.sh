#!/bin/bash
# What an operations team does with the packages, inside a booted Debian with systemd: installs them,
# puts nginx under the library, upgrades under load, takes everything away. Run by packages.sh.
#
# /debs has the packages, /debs/next those of a later version. Says what it does; the last line is
# "walk: all is well", or what is not.
set -u
PATH=/usr/sbin:/usr/bin:/sbin:/bin

say() { echo "walk: $*"; }
fail() {
  say "FAILED: $*"
  systemctl --no-pager --full status poold.service nginx.service 2>&1 | tail -n 30
  journalctl --no-pager --unit poold.service 2>&1 | tail -n 30
  exit 1
}
expect() { "$@" || fail "$*"; }
status() { poold status --json; }
by_the_pool() { status | sed -n '/"connects": *{/,/}/s/.*"pool": *\([0-9]*\).*/\1/p' | head -n 1; }
# What packages bring is under these.
files() { find /etc /usr /var/lib/portpool /run/portpool /lib/systemd ! -path '*/__pycache__*' 2>/dev/null | sort; }
install_all() { apt-get install --yes --quiet --no-install-recommends --allow-downgrades "$1"/*.deb >/tmp/apt.log 2>&1 || { cat /tmp/apt.log; fail "apt-get install $1"; }; }

ip link set lo up
systemctl is-active --quiet nginx.service || fail "nginx does not run"
files >/tmp/before
# dpkg's own notes and the users' backups change with any package.
ignored='^/etc/(passwd|group|shadow|gshadow|subuid|subgid)-?$|^/etc/systemd/system/nginx.service.d|^/etc/ld.so.cache|/ssl/certs|\.dpkg-'

say "installs"
start=$(date +%s%N)
install_all /debs
expect systemctl is-active --quiet poold.service
expect systemctl is-enabled --quiet poold.service
pid=$(systemctl show --property MainPID --value poold.service)
expect test "$(stat -c %U "/proc/$pid")" = portpool
grep -q '^CapEff:.0000000000000000$' "/proc/$pid/status" || fail "poold has capabilities"
grep -q '^Seccomp:.2$' "/proc/$pid/status" || fail "poold has no system call filter"
expect test "$(stat -c '%a %U:%G' /run/portpool/poold.sock)" = "660 portpool:portpool"
journalctl --unit poold.service | grep -iE 'warn|error|critical' && fail "poold complains at start"
expect curl --silent --fail --output /dev/null http://127.0.0.1:9481/metrics
score=$(systemd-analyze security poold.service --no-pager | sed -n 's/.*exposure level for poold.service: \([0-9.]*\) .*/\1/p')
say "systemd-analyze security: $score"
awk -v score="$score" 'BEGIN { exit !(score != "" && score <= 2.0) }' || fail "exposed too much"
poold status >/dev/null || fail "root may not look"

say "one version everywhere"
version=$(dpkg-query --show --showformat '${Version}' poold)
expect test "$(dpkg-query --show --showformat '${Version}' libportpool1)" = "$version"
expect test "$(poold version | head -n 1)" = "portpool $version"
expect test "$(poold --version)" = "poold $version"
layout=$(poold version | sed -n 's/^segment layout //p')
status | grep -q "\"version\": *\"$version\"" || fail "poold status has another version"
status | grep -q "\"layout\": *\"$layout\"" || fail "poold status has another layout"
curl --silent http://127.0.0.1:9481/metrics | grep '^portpool_build_info{' | grep "version=\"$version\"" | grep -q "layout=\"$layout\"" ||
  fail "the metrics have another version or layout"
zcat /usr/share/man/man8/poold.8.gz /usr/share/man/man8/poold-status.8.gz | grep -c "^\.TH .*portpool $version" | grep -qx 2 || fail "the manual pages have another version"
zcat /usr/share/doc/poold/changelog.gz | head -n 1 | grep -q "($version)" || fail "the changelog has another version"

say "a program that somebody starts"
poold run -- sh -c 'for i in 1 2 3 4 5 6 7 8 9; do curl -s http://127.0.0.1:8080/; done' >/dev/null 2>/tmp/run.txt ||
  { cat /tmp/run.txt; fail "poold run"; }
grep -q '^portpool: 9 TCP connects, [1-9] of them by the pool' /tmp/run.txt || { cat /tmp/run.txt; fail "poold run: figures"; }

say "nginx under the library"
expect poold enable nginx
systemctl daemon-reload
ask() { curl --silent --fail --output /dev/null http://127.0.0.1/; }
# On a starved machine its master may not have waited long enough for poold, and its workers, who are not in
# the group, may not ask.
in_the_list() { poold status --clients | grep -qE '^ *[0-9]+ nginx +www-data +nginx\.service +pool +yes '; }
served() {
  expect systemctl restart nginx.service
  for _ in $(seq 50); do expect ask; done
  in_the_list
}
for _ in $(seq 10); do
  served && break
done
poold status --clients | sed -n '/^Programs/,$p'
in_the_list || fail "nginx is not in the list"
first=$(by_the_pool)
[ "$first" -gt 20 ] || { poold status; fail "only $first connects of nginx by the pool"; }
curl --silent http://127.0.0.1:9481/metrics | grep -qE '^portpool_connects_total\{.*path="pool".*\} [1-9]' || fail "no connects in the metrics"
say "from nothing to nginx under the library with metrics: $((($(date +%s%N) - start) / 100000000))00 ms"

say "upgrades under load"
touch /tmp/loading
{
  count=0 errors=0
  while [ -e /tmp/loading ]; do
    count=$((count + 1))
    ask || errors=$((errors + 1))
  done
  echo "$count $errors" >/tmp/loaded
} &
load=$!
sleep 1
install_all /debs/next
expect systemctl is-active --quiet poold.service
new=$(systemctl show --property MainPID --value poold.service)
[ "$new" != "$pid" ] || fail "the old daemon still runs"
sleep 1
rm /tmp/loading
wait "$load"
read -r count errors </tmp/loaded
say "$count requests while it was upgraded, $errors failed"
[ "$errors" -eq 0 ] || fail "the upgrade was noticed"
[ "$count" -gt 50 ] || fail "hardly a request was made meanwhile"
after=$(by_the_pool)
[ "$after" -gt "$first" ] || fail "figures were lost in the upgrade: $first, then $after"

say "nginx without the library, and with it again"
expect poold disable nginx
systemctl daemon-reload
expect systemctl restart nginx.service
grep -q libportpool "/proc/$(systemctl show --property MainPID --value nginx.service)/maps" && fail "nginx still has the library"
# By the file that comes with the package.
install -D /usr/share/portpool/client.conf /etc/systemd/system/nginx.service.d/50-portpool.conf
systemctl daemon-reload
expect systemctl restart nginx.service
grep -q libportpool "/proc/$(systemctl show --property MainPID --value nginx.service)/maps" || fail "nginx has no library"
expect ask

# shellcheck disable=SC1091
. /unit.sh

say "takes it away"
apt-get remove --yes --quiet poold libportpool1 >/tmp/remove.txt 2>&1 || { cat /tmp/remove.txt; fail "apt-get remove"; }
grep -q 'nginx.service.d/50-portpool.conf' /tmp/remove.txt || { cat /tmp/remove.txt; fail "nobody says that nginx still preloads it"; }
expect ask
rm -r /etc/systemd/system/nginx.service.d
systemctl daemon-reload
expect systemctl restart nginx.service
expect ask
apt-get purge --yes --quiet poold libportpool1 >/tmp/purge.txt 2>&1 || { cat /tmp/purge.txt; fail "apt-get purge"; }
say "half an installation"
dpkg --unpack /debs/poold_*.deb >/dev/null 2>&1
systemctl daemon-reload
systemctl start poold.service 2>/dev/null && fail "poold runs without its user"
expect systemctl is-failed --quiet poold.service
systemctl status --no-pager poold.service | grep -q 'status=217/USER' || fail "nobody says that the user is missing"
poold version >/dev/null || fail "poold does not run"
poold enable nginx >/tmp/enable.txt 2>&1 && fail "enables without the library"
grep -q 'install it (Debian: libportpool1)' /tmp/enable.txt || { cat /tmp/enable.txt; fail "does not say what is missing"; }
# As "apt-get --fix-broken install" would, which looks for it elsewhere.
dpkg --install /debs/libportpool1_*.deb >/dev/null && dpkg --configure --pending >/dev/null || fail "dpkg --configure"
expect systemctl is-active --quiet poold.service
apt-get purge --yes --quiet poold libportpool1 >/tmp/purge.txt 2>&1 || { cat /tmp/purge.txt; fail "apt-get purge"; }
apt-get autoremove --yes --quiet --purge >/dev/null 2>&1
getent passwd portpool >/dev/null && fail "the user portpool is left"
files >/tmp/after
left=$(comm -13 <(grep -vE "$ignored" /tmp/before) <(grep -vE "$ignored" /tmp/after))
[ -z "$left" ] || fail "left behind: $left"
say "all is well"
