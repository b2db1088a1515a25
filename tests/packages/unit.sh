# shellcheck shell=bash
# Part of walk.sh: the unit and its socket where something is wrong, and services with restrictions of
# their own. Comes with poold running, and leaves it so.

words() { journalctl --no-pager --output cat --unit "$1" --after-cursor "$since" 2>&1; }
# From here on the journal is read.
begin() {
  say "$1"
  since=$(journalctl --lines 1 --show-cursor --quiet --no-pager | sed -n 's/^-- cursor: //p')
}
await() {
  for _ in $(seq 600); do
    "$@" >/dev/null 2>&1 && return
    sleep 0.1
  done
  fail "never: $*"
}
tells() { systemctl show --property StatusText poold.service | grep -q "=$1"; }
main_pid() { systemctl show --property MainPID --value poold.service; }
configuration=/etc/portpool/poold.toml
cp "$configuration" /tmp/poold.toml

# refused SED TEXT: with the configuration changed so, poold ends once, and the journal says why.
refused() {
  sed "$1" /tmp/poold.toml >"$configuration"
  begin "  $2"
  systemctl restart poold.service 2>/dev/null && fail "poold starts with $1"
  expect test "$(systemctl show --property ExecMainStatus --value poold.service)" = 2
  # Where another start is to come it is "activating".
  expect systemctl is-failed --quiet poold.service
  journalctl --sync
  words poold.service | grep -q -- "$2" || { words poold.service; fail "the journal does not say: $2"; }
}
say "configurations that are refused"
refused 's/^socket_group/sockt_group/' 'unknown key "sockt_group"'
refused 's/:9481/:8080/' 'cannot listen on 127.0.0.1:8080 for metrics'
refused 's/^socket_group.*/socket_group = "nobodys"/' 'group "nobodys" does not exist; create it with: groupadd nobodys'
refused 's,^# socket = .*,socket = "/srv/poold.sock",' 'Read-only file system'
cp /tmp/poold.toml "$configuration"
# As at a boot, before poold.
rm -r /run/portpool
expect systemd-tmpfiles --create portpool.conf
expect test "$(stat -c '%a %U:%G' /run/portpool)" = "755 portpool:portpool"
expect systemctl start poold.service

begin "an error at a reload"
pid=$(main_pid)
echo 'mode = "swimming"' >"$configuration"
systemctl reload poold.service
await systemctl is-active --quiet poold.service
await tells 'serving with the old configuration'
words poold.service | grep -q 'the old configuration stays in force' || { words poold.service; fail "nobody says so"; }
expect test "$(main_pid)" = "$pid"
cp /tmp/poold.toml "$configuration"
systemctl reload poold.service
await tells 'serving on'

say "services with restrictions of their own"
# Each asks again and again, from one process.
cat >/usr/local/bin/talker <<'END'
#!/bin/bash
while :; do
  exec 3<>/dev/tcp/127.0.0.1/8080 && { printf 'GET / HTTP/1.0\r\n\r\n' >&3; cat <&3 >/dev/null; exec 3>&-; }
  sleep 0.05
done
END
chmod 755 /usr/local/bin/talker
mkdir -p /srv/boxed
for folder in bin sbin lib lib64; do ln -s "usr/$folder" "/srv/boxed/$folder"; done
# talker NAME SETTINGS
talker() {
  printf '[Service]\nExecStart=/usr/local/bin/talker\n%b\n' "$2" >"/etc/systemd/system/$1.service"
}
talker strict 'DynamicUser=yes\nPrivateTmp=yes\nProtectSystem=strict\nProtectHome=yes\nProtectProc=invisible\nPrivateDevices=yes\nPrivateUsers=yes\nNoNewPrivileges=yes\nMemoryDenyWriteExecute=yes\nSystemCallFilter=@system-service'
talker boxed 'User=nobody\nRootDirectory=/srv/boxed\nBindReadOnlyPaths=/usr\nMountAPIVFS=yes'
talker bare 'User=nobody\nTemporaryFileSystem=/run'
talker apart 'PrivateNetwork=yes'
poold enable apart >/tmp/apart.txt 2>&1 && fail "enables what has another network"
grep -q 'network namespace of its own (PrivateNetwork=yes)' /tmp/apart.txt || { cat /tmp/apart.txt; fail "does not say why"; }
talkers='strict boxed bare'
for name in $talkers; do poold enable "$name" >/dev/null || fail "poold enable $name"; done
systemctl daemon-reload
for name in $talkers; do expect systemctl restart "$name.service"; done
pool_of() { poold status --clients | grep -E " $1\.service +pool +yes "; }
all_served() { for name in $talkers; do pool_of "$name" || return 1; done; }
await all_served
poold status --clients | sed -n '/^Programs/,$p'

say "their mounts of the socket's folder outlive poold"
expect systemctl stop poold.service
expect test ! -e /run/portpool/poold.sock
expect systemctl start poold.service
await all_served

say "where processes are hidden from poold"
mkdir -p /etc/systemd/system/poold.service.d
printf '[Service]\nProtectProc=invisible\n' >/etc/systemd/system/poold.service.d/hidden.conf
systemctl daemon-reload
expect systemctl restart poold.service
await all_served
rm -r /etc/systemd/system/poold.service.d
systemctl daemon-reload
expect mount -o remount,hidepid=2 /proc
expect systemctl restart poold.service
await all_served
expect mount -o remount,hidepid=0 /proc

begin "a socket of systemd's, which starts poold"
expect systemctl stop poold.service
expect systemctl enable --quiet --now poold.socket
place() { stat -c '%a %U:%G %i' /run/portpool/poold.sock; }
# The talkers look for a daemon once a second.
await systemctl is-active --quiet poold.service
await all_served
first=$(place)
expect test "${first% *}" = "660 portpool:portpool"
words poold.service | grep -q 'serving on /run/portpool/poold.sock, a socket of the service manager' || fail "another socket"
pid=$(main_pid)
expect systemctl restart poold.service
await all_served
expect test "$(place)" = "$first"
expect test "$(main_pid)" != "$pid"
pid=$(main_pid)
expect systemctl kill --signal USR2 --kill-whom main poold.service
another_pid() { [ "$(main_pid)" != "$pid" ] && systemctl is-active --quiet poold.service; }
await another_pid
await all_served
expect systemctl reload poold.service
expect test "$(place)" = "$first"
pid=$(main_pid)
kill -KILL "$pid"
await another_pid
await all_served
expect test "$(place)" = "$first"
say "  a wrong configuration: systemd gives up, and says so"
echo nonsense >"$configuration"
systemctl restart poold.service 2>/dev/null && fail "poold starts with nonsense"
await systemctl is-failed --quiet poold.socket
cp /tmp/poold.toml "$configuration"
expect systemctl reset-failed poold.service poold.socket
expect systemctl start poold.service
await all_served
expect test "$(place | cut -d' ' -f1,2)" = "660 portpool:portpool"
expect systemctl disable --quiet --now poold.socket
expect systemctl restart poold.service
await all_served

for name in $talkers; do
  expect systemctl stop "$name.service"
  poold disable "$name" >/dev/null || fail "poold disable $name"
done
rm -rf /etc/systemd/system/{strict,boxed,bare,apart}.service /srv/boxed /usr/local/bin/talker
systemctl daemon-reload
