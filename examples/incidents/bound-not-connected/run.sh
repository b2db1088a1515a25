#!/usr/bin/env bash
# bound-not-connected: ftp says "Cannot assign requested address" though hardly a connection exists,
# because another program binds sockets that it never connects.
set -euo pipefail
# shellcheck source=../common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
begin_incident "vsftpd tnftp" "$@"

ports="20000 20999"

# fetch LABEL MODE [COMMAND...]: a file by ftp; MODE -A is active, -p passive
fetch() {
  local label=$1 mode=$2 outcome
  shift 2
  rm -f "$work/fetched"
  if "$@" tnftp "$mode" -o "$work/fetched" ftp://127.0.0.1/file >"$work/ftp.txt" 2>&1 &&
    cmp -s "$work/fetched" "$work/pub/file"; then
    outcome=fetched
  else
    outcome=$(grep -oE "Can't assign requested address|Cannot assign requested address|Address already in use" \
      "$work/ftp.txt" | head -n 1 || true)
    outcome=${outcome:-$(tail -n 1 "$work/ftp.txt")}
  fi
  fact "$label" "$(python3 -c 'import json, sys; print(json.dumps(sys.argv[1]))' "$outcome")"
  say "  ftp, $([ "$mode" = -A ] && echo active || echo passive): $outcome"
}

# start_binder [COMMAND...]: `binder` is its pid
start_binder() {
  rm -f "$work/bound"
  start bind "$@" python3 "$here/bind.py" 1000 "$work/bound"
  binder=${started[-1]}
  wait_for "the program that binds sockets" test -s "$work/bound"
}

summary() { ss -s | grep '^TCP:' | sed 's/^/  ss -s says  /'; }

title "An FTP server and its client, in a network namespace of their own"
mkdir "$work/pub"
echo "the file" >"$work/pub/file"
chmod 755 "$work" "$work/pub"
cat >"$work/vsftpd.conf" <<CONFIG
listen=YES
listen_address=127.0.0.1
background=NO
anonymous_enable=YES
local_enable=NO
no_anon_password=YES
anon_root=$work/pub
run_as_launching_user=YES
seccomp_sandbox=NO
connect_from_port_20=YES
# Its own ports are not what is looked at.
pasv_min_port=50000
pasv_max_port=50099
CONFIG
start vsftpd vsftpd "$work/vsftpd.conf"
wait_for vsftpd listening 21
fetch before_active -A
fetch before_passive -p
# Only now: a TIME-WAIT of these would keep its port from being bound.
set_sysctl net.ipv4.ip_local_port_range "$ports"
say "  1,000 ports for everything that follows"

title "Another program binds 1,000 sockets and connects none"
start_binder
fact bound_kernel "$(cat "$work/bound")"
say "  $(cat "$work/bound") sockets bound"
summary
fetch kernel_active -A
fetch kernel_passive -p
fact binder "$binder"
diagnose bound
end "$binder"

title "The same program, and ftp, under portpool"
start_poold </dev/null
start_binder "${shim[@]}"
keep_status binder
for _ in 1 2 3 4; do
  [ "$(status counters.binds_deferred binder)" -lt 1000 ] || break
  say "  (poold did not answer within the 50 ms that a program waits for it: once more)"
  end "$binder"
  start_binder "${shim[@]}"
  keep_status binder
done
fact bound_pool "$(cat "$work/bound")"
say "  $(cat "$work/bound") sockets bound, and no port is taken before they connect"
summary
fetch pool_active -A "${shim[@]}"
fetch pool_passive -p "${shim[@]}"
keep_status pool
diagnose pool

finish
say ""
say "A bound port is lost to all destinations at once, and to listeners. portpool lets bind() fix the"
say "address only, as it asks for port 0, and gives the socket its port when it connects."
