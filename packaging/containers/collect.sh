#!/usr/bin/env bash
# What the images hold:   packaging/containers/collect.sh BUILD FOLDER
#
# Makes FOLDER/poold, FOLDER/library and FOLDER/socket of the build tree BUILD and of the libraries
# of this machine. The Dockerfile calls it.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
build=$1 folder=$2
# shellcheck source-path=SCRIPTDIR source=with_libraries.sh
source "$here/with_libraries.sh"

with_libraries "$folder/poold" "$build/bin/poold" /usr/bin/poold
strip "$folder/poold/usr/bin/poold"
install -D -m 0644 "$here/../poold.toml" "$folder/poold/etc/portpool/poold.toml"
# `socket_group` is looked up by name.
echo 'portpool:x:59481:' >"$folder/poold/etc/group"
echo 'portpool:x:59481:59481::/:' >"$folder/poold/etc/passwd"
# For `poold top` through `kubectl exec -it` and `docker exec -it`.
for terminal in x/xterm x/xterm-256color s/screen-256color t/tmux-256color l/linux; do
  for terminals in /lib/terminfo /usr/share/terminfo; do
    if [ -e "$terminals/$terminal" ]; then
      install -D -m 0644 "$terminals/$terminal" "$folder/poold/usr/share/terminfo/$terminal"
    fi
  done
done
# Its owner is set where it is copied.
mkdir -p "$folder/socket/portpool"

with_libraries "$folder/library" "$(command -v install)" /usr/bin/install
install -D -m 0555 --strip "$build/lib/libportpool.so" "$folder/library/usr/lib/portpool/libportpool.so"
