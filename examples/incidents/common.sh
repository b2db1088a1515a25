# What the incidents share; each run.sh sources it and calls `begin_incident TOOLS "$@"`.
#
# begin_incident runs the script once more in namespaces of its own, and returns only there. Sets
# `seconds`: how long a measurement lasts.
# shellcheck shell=bash
here=$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd)
# shellcheck source=../common/scene.sh
. "$(dirname "${BASH_SOURCE[0]}")/../common/scene.sh"

begin_incident() {
  if ! is_inside; then
    begin json "ss $1" "${@:2}"
    inside "$work" "$here/run.sh"
    [ -z "$json" ] || cp "$work/report.json" "$json"
    exit 0
  fi
  enter
  # shellcheck disable=SC2034
  seconds=$([ -n "$quick" ] && echo 1 || echo 2)
  : >"$work/facts"
}

# begin_trial NAME: within an incident, in a network namespace of its own and with a folder of that
# name. Sets `results`, the incident's folder.
begin_trial() {
  # shellcheck disable=SC2034
  results=$SCENE_WORK
  SCENE_WORK=$results/$1
  mkdir "$SCENE_WORK"
  enter
  # Many trials at once make the machine slow enough for segments to be sent twice; the reset that
  # answers the second one would end a TIME-WAIT (RFC 1337) that the trial is about.
  echo 1 >/proc/sys/net/ipv4/tcp_rfc1337
}

# start_trial ARGUMENT...: trial.sh beside the script, in a network namespace of its own
trials=()
start_trial() {
  unshare --net "$here/trial.sh" "$@" 2>>"$work/trial.log" &
  trials+=($!)
}

wait_for_trials() {
  local pid
  for pid in "${trials[@]}"; do
    wait "$pid"
  done
}

title() { printf '\n== %s\n' "$*"; }

# set_sysctl NAME VALUE: of this network namespace
set_sysctl() {
  say "  sysctl -w $1=\"$2\""
  printf '%s\n' "$2" >"/proc/sys/${1//./\/}"
}

# end PID: of something started
end() {
  kill "$1"
  wait "$1" 2>/dev/null || true
}

# listening PORT: without a connection that would leave a TIME-WAIT behind
listening() { ss -Hltn "sport = :$1" | grep -q .; }

# sockets FILTER...: how many ss(8) lists
sockets() { ss -Htan "$@" | wc -l; }

stop_poold() { end "$daemon"; }

# diagnose LABEL: shows what `poold doctor` does not find ok, and keeps all that it says
diagnose() {
  "$poold" doctor --json >"$work/doctor-$1.json" || true
  say "  \$ poold doctor          (without what it finds in order)"
  "$poold" doctor >"$work/doctor.txt" || true
  awk '/^\[/ { show = !/^\[ OK \]/ } /^[^[ ]/ { show = 0 } show { print "    " $0 }' "$work/doctor.txt"
}

# keep_status LABEL: what `poold status` says now
keep_status() { "$poold" status --json >"$work/status-$1.json"; }

# status FIELD LABEL: a number of it, "connects.pool"; reasons that did not occur are not listed
status() {
  python3 -c 'import functools, json, sys
value = json.load(open(sys.argv[2]))
print(functools.reduce(lambda v, key: v.get(key, 0), sys.argv[1].split("."), value))' \
    "$1" "$work/status-$2.json"
}

# fact NAME JSON: for the report
fact() { printf '%s %s\n' "$1" "$2" >>"$work/facts"; }

# finish: writes the report
finish() {
  python3 - "$work" "$(basename "$here")" <<'PYTHON'
import json, sys
from pathlib import Path

work, incident = Path(sys.argv[1]), sys.argv[2]
report = {"schema": 1, "incident": incident}
for line in (work / "facts").read_text().splitlines():
    name, value = line.split(" ", 1)
    report[name] = json.loads(value)
for kind in ("doctor", "status"):
    report[kind] = {
        file.stem.split("-", 1)[1]: json.loads(file.read_text())
        for file in sorted(work.glob(f"{kind}-*.json"))
    }
(work / "report.json").write_text(json.dumps(report, indent=2) + "\n")
PYTHON
}
