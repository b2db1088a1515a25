# shellcheck shell=bash
# For scripts that are tests, to be sourced: they exit with 77, and are skipped, where something is missing.
skip() {
  echo "$(basename "$0" .sh): $*"
  exit 77
}
needs_root() {
  [ "$(id -u)" -eq 0 ] || skip "needs root"
}
# needs PROGRAM...
needs() {
  local tool
  for tool; do
    command -v "$tool" >/dev/null || skip "needs $tool"
  done
}
