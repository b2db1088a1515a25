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

say "a program that somebody starts"
poold run -- sh -c 'for i in 1 2 3 4 5 6 7 8 9; do curl -s http://127.0.0.1:8080/; done' >/dev/null 2>/tmp/run.txt ||
  { cat /tmp/run.txt; fail "poold run"; }
grep -q '^portpool: 9 TCP connects, [1-9] of them by the pool' /tmp/run.txt || { cat /tmp/run.txt; fail "poold run: figures"; }

say "nginx under the library"
expect poold enable nginx
systemctl daemon-reload
expect systemctl restart nginx.service
ask() { curl --silent --fail --output /dev/null http://127.0.0.1/; }
for _ in $(seq 50); do expect ask; done
first=$(by_the_pool)
poold status --clients | sed -n '/^Programs/,$p'
poold status --clients | grep -qE '^ *[0-9]+ nginx +www-data +nginx\.service +pool +yes ' || fail "nginx is not in the list"
[ "$first" -gt 20 ] || { poold status; fail "only $first connects of nginx by the pool"; }

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

say "takes it away"
apt-get remove --yes --quiet poold libportpool1 >/tmp/remove.txt 2>&1 || { cat /tmp/remove.txt; fail "apt-get remove"; }
grep -q 'nginx.service.d/50-portpool.conf' /tmp/remove.txt || { cat /tmp/remove.txt; fail "nobody says that nginx still preloads it"; }
expect ask
rm -r /etc/systemd/system/nginx.service.d
systemctl daemon-reload
expect systemctl restart nginx.service
expect ask
apt-get purge --yes --quiet poold libportpool1 >/tmp/purge.txt 2>&1 || { cat /tmp/purge.txt; fail "apt-get purge"; }
apt-get autoremove --yes --quiet --purge >/dev/null 2>&1
getent passwd portpool >/dev/null && fail "the user portpool is left"
files >/tmp/after
left=$(comm -13 <(grep -vE "$ignored" /tmp/before) <(grep -vE "$ignored" /tmp/after))
[ -z "$left" ] || fail "left behind: $left"
say "all is well"
