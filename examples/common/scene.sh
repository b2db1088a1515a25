# What the examples share; they source it.
#
# Outside, `begin` reads the arguments and finds what is needed, and `inside` runs a command in
# network, process and mount namespaces of its own, which take everything down with them. There the
# command calls `enter`. No setting of the machine is changed.
# shellcheck shell=bash
PATH=$PATH:/usr/sbin:/sbin
common=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$common/../.." && pwd)

say() { printf '%s\n' "$*"; }

# ---- outside the namespaces ----------------------------------------------------------------------

# What the script says of itself in its first lines, and the options that `begin` was given.
usage() {
  awk '/^# shellcheck/ || NR == 1 { next } !/^#/ { exit } { sub(/^# ?/, ""); print }' "$0"
  printf '\nOptions:\n'
  [ "$options" != json ] || echo "  --json FILE     write what was seen to FILE too"
  cat <<'USAGE'
  --quick         fewer and shorter measurements, for a first look and for tests
  --prebuilt DIR  install and build nothing; use DIR/bin/poold and DIR/lib/libportpool.so
  --help          this text

It runs in network, process and mount namespaces of its own; no setting of the machine is changed.
Exit status: 0 done, 1 something went wrong, 2 wrong usage or something is missing.
USAGE
}

refuse() {
  say "$1; --help lists the options" >&2
  exit 2
}

can_write() {
  if [ -e "$1" ]; then
    [ ! -d "$1" ] && [ -w "$1" ]
  else
    [ -w "$(dirname "$1")" ]
  fi
}

# begin OPTIONS TOOLS ARGUMENT...
#
# OPTIONS is "json" where the script can write a file, else empty. TOOLS are the programs it needs,
# in one word. Sets `quick` (1 or empty) and `json` (a file or empty), `build` (a folder with
# bin/poold and lib/libportpool.so) and `work`, a folder that goes away when the script ends.
begin() {
  options=$1
  local tools=$2 prebuilt=''
  shift 2
  quick='' json=''
  while [ $# -gt 0 ]; do
    case "$1" in
      --quick) quick=1 ;;
      --json | --prebuilt)
        [ "$1" = --prebuilt ] || [ "$options" = json ] || refuse "unknown option: $1"
        [ $# -ge 2 ] || refuse "$1 needs an argument"
        if [ "$1" = --json ]; then json=$2; else prebuilt=$2; fi
        shift
        ;;
      --help)
        usage
        exit 0
        ;;
      *) refuse "unknown argument: $1" ;;
    esac
    shift
  done
  # Better now than after minutes of measuring.
  [ -z "$json" ] || can_write "$json" || refuse "cannot write to $json"

  running=
  work=$(mktemp -d "${TMPDIR:-/tmp}/portpool-example.XXXXXX")
  chmod 755 "$work"
  trap clean_up EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM

  # shellcheck disable=SC2086
  find_build "$prebuilt" $tools
  # shellcheck disable=SC2086
  need_tools python3 ip unshare $tools
  find_namespaces
}

clean_up() {
  # The namespaces' first process dies with unshare, and with it all others.
  [ -z "$running" ] || kill -KILL "$running" 2>/dev/null || true
  rm -rf "$work"
}

# find_build PREBUILT TOOL...: with PREBUILT empty it installs what is missing and builds portpool.
find_build() {
  if [ -n "$1" ]; then
    [ -d "$1" ] || refuse "not a folder: $1"
    build=$(cd "$1" && pwd)
  else
    local tool groups=(build demo)
    for tool in "${@:2}"; do
      case "$tool" in haproxy | java | node | vsftpd | nft) groups+=("$tool") ;; esac
    done
    say "Looking for the packages that building and measuring need."
    "$root/packaging/install-deps.sh" "${groups[@]}"
    say "Building poold and the library (build/release); two to four minutes on two cores, the first time."
    (
      cd "$root"
      cmake --preset release
      cmake --build --preset release --target poold portpool
    ) >"$work/build.log" 2>&1 || {
      tail -n 30 "$work/build.log"
      say "The build failed; above is the end of what it said."
      exit 2
    }
    build=$root/build/release
  fi
  local file
  for file in "$build/bin/poold" "$build/lib/libportpool.so"; do
    [ -e "$file" ] || {
      say "missing: $file"
      exit 2
    }
  done
}

need_tools() {
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null || {
      say "missing: $tool (packaging/install-deps.sh demo or test installs it)"
      exit 2
    }
  done
}

# need_files COUNT: in one process
need_files() {
  local files
  files=$(ulimit -Hn)
  [ "$files" = unlimited ] || [ "$files" -ge "$1" ] || {
    say "This needs $1 open files in one process, and the limit is $files (ulimit -Hn)."
    exit 2
  }
}

# Without root, a user namespace gives the right to make the others.
find_namespaces() {
  namespaces=(unshare --net --pid --fork --kill-child --mount-proc)
  [ "$(id -u)" -eq 0 ] || namespaces=(unshare --user --map-root-user "${namespaces[@]:1}")
  "${namespaces[@]}" ip link set lo up 2>/dev/null || {
    say "This user may not make a network namespace here. Run it as root: sudo $0"
    exit 2
  }
}

# inside FOLDER COMMAND...: in new namespaces; there FOLDER is `work`. It must be below this `work`.
inside() {
  local folder=$1 status=0
  shift
  SCENE_WORK=$folder SCENE_BUILD=$build SCENE_QUICK=$quick "${namespaces[@]}" "$@" &
  running=$!
  wait "$running" || status=$?
  running=
  # With 2 it has said itself what is missing.
  if [ "$status" -ne 0 ] && [ "$status" -ne 2 ]; then
    say "It failed (status $status). What its programs said:"
    tail -n 5 "$folder"/*.log 2>/dev/null || true
    status=1
  fi
  [ "$status" -eq 0 ] || exit "$status"
}

is_inside() { [ -n "${SCENE_WORK:-}" ]; }

# ---- inside them ---------------------------------------------------------------------------------

# Sets `work`, `build` and `quick` as outside, `poold`, and `shim`: what is started under it uses
# portpool.
enter() {
  work=$SCENE_WORK
  build=$SCENE_BUILD
  quick=$SCENE_QUICK
  poold=$build/bin/poold
  export PORTPOOL_SOCKET=$work/poold.sock
  # shellcheck disable=SC2034
  shim=(env "LD_PRELOAD=$build/lib/libportpool.so" "PORTPOOL_SOCKET=$PORTPOOL_SOCKET")
  trap 'status=$?; trap - EXIT; stop_started; exit $status' EXIT
  # As many open files as this user may have.
  ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
  ip link set lo up
}

started=()

# start NAME COMMAND...: in the background; its output goes to NAME.log
start() {
  local log=$work/$1.log
  shift
  "$@" >>"$log" 2>&1 &
  started+=($!)
}

# stop_started [COUNT]: ends what was started last, until COUNT are left (0). The last first, so that
# nobody misses an upstream that has gone.
stop_started() {
  local pid told
  while [ "${#started[@]}" -gt "${1:-0}" ]; do
    pid=${started[-1]}
    told=$pid
    # unshare(1) ignores SIGTERM and hands it to nobody: its child is told.
    if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = unshare ]; then
      told=$(cat "/proc/$pid/task/$pid/children")
    fi
    # shellcheck disable=SC2086
    kill $told 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    unset 'started[-1]'
  done
}

# wait_for WHAT COMMAND...: until the command succeeds, at most 30 s
wait_for() {
  local what=$1
  shift
  for _ in $(seq 600); do
    "$@" >/dev/null 2>&1 && return 0
    sleep 0.05
  done
  say "$what: still not so after 30 s" >&2
  exit 1
}

# listens PORT [ADDRESS]
listens() { (: <"/dev/tcp/${2:-127.0.0.1}/$1"); }

# nginx_config ROLE WORKERS CONNECTIONS SERVER
nginx_config() {
  cat >"$work/$1.conf" <<CONFIG
daemon off;
user root;
worker_processes $2;
worker_rlimit_nofile $(ulimit -n);
pid $work/$1.pid;
error_log $work/$1.log warn;
events { worker_connections $3; }
http {
  access_log off;
  client_body_temp_path $work/$1.body;
  proxy_temp_path $work/$1.proxy;
  fastcgi_temp_path $work/$1.fastcgi;
  uwsgi_temp_path $work/$1.uwsgi;
  scgi_temp_path $work/$1.scgi;
  # Connections that are held say nothing for as long as the measurement lasts.
  client_header_timeout 1h;
  keepalive_timeout 1h;
  keepalive_requests 1000000000;
  $4
}
CONFIG
}

# start_nginx ROLE [PREFIX...]: PREFIX is a command that runs it: taskset, nsenter, ...
start_nginx() {
  local role=$1
  shift
  start "$role.start" "$@" nginx -p "$work" -c "$work/$role.conf" -e "$work/$role.log"
}

# hold ADDRESS PORT HOW_MANY: connections, as hold.py describes; `holder` is the process
hold() {
  local ready=$work/held.${#started[@]}
  start hold python3 "$common/hold.py" "$1" "$2" "$3" "$ready"
  holder=${started[-1]}
  wait_for "connections to $1:$2 that are held" test -e "$ready"
  rm -f "$ready"
}

# start_poold <CONFIGURATION: the machine's own configuration must not change what is seen.
start_poold() {
  cat >"$work/portpool.toml"
  start poold "$poold" serve --config "$work/portpool.toml" --socket "$PORTPOOL_SOCKET"
  # shellcheck disable=SC2034
  daemon=${started[-1]}
  wait_for poold test -S "$PORTPOOL_SOCKET"
}
