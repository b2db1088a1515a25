#!/usr/bin/env bash
# Builds the images of packaging/containers and runs them as the two containers of a pod: see pod_test.py.
#
#   tests/containers/pod.sh BUILD
#
# Needs root, podman, buildah and crun; exits with 77 (skipped) where one of them is missing or containers
# cannot run. No registry is asked. The stage that compiles is replaced by what packaging/containers/collect.sh
# makes of BUILD; with PORTPOOL_WHOLE=1 it is run too, on a root by debootstrap, or the one in PORTPOOL_ROOT
# (see tests/packages): some minutes, and a package mirror.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
build=$(realpath "$1")

# shellcheck source=tests/support/needs.sh
. tests/support/needs.sh

if [ -z "${PORTPOOL_POD_WORK:-}" ]; then
  needs_root
  needs podman buildah crun
  work=$(mktemp -d "${TMPDIR:-/tmp}/portpool-pod.XXXXXX")
  trap 'rm -rf --one-file-system "$work"' EXIT
  status=0
  PORTPOOL_POD_WORK=$work unshare --mount --pid --ipc --fork --kill-child --mount-proc "$0" "$build" || status=$?
  exit "$status"
fi

# Inside: what podman and buildah write goes with the namespaces.
work=$PORTPOOL_POD_WORK
folders="/run /dev/shm /var/tmp"
# A root of some hundred MB, several times over, is too much for memory.
[ -n "${PORTPOOL_WHOLE:-}" ] || folders+=" $work"
for folder in $folders; do
  mount -t tmpfs none "$folder"
done
chmod 711 "$work"
# crun knows either kind of cgroups, not both at once. These containers use none.
mount -t cgroup2 none /sys/fs/cgroup || skip "no cgroup2 can be mounted"
# Not by the environment, which does not reach what podman starts when a container ends.
cp -r /etc/containers "$work/etc"
mount --bind "$work/etc" /etc/containers
# Limits that are lower than anybody's: raising them may be refused.
cat >/etc/containers/containers.conf <<END
[containers]
cgroups = "disabled"
default_sysctls = []
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
runtime = "crun"
static_dir = "$work/libpod"
volume_path = "$work/volumes"
tmp_dir = "/run/libpod"
END
cat >/etc/containers/storage.conf <<END
[storage]
driver = "vfs"
graphroot = "$work/store"
runroot = "/run/store"
END

# image NAME FOLDER: an image that holds FOLDER.
image() {
  local container
  container=$(buildah from scratch)
  buildah copy --quiet "$container" "$2" / >/dev/null
  buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
  buildah commit --quiet --rm "$container" "$1" >/dev/null
}

compiled_here() {
  packaging/containers/collect.sh "$build" "$work/files/image"
  image localhost/compiled "$work/files"
  stage=(--build-context compiled=container-image://localhost/compiled)
}

compiled_in_the_image() {
  local root=${PORTPOOL_ROOT:-$work/root}
  # shellcheck disable=SC1091
  [ -d "$root" ] || debootstrap --variant=minbase "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$root" >/dev/null
  image localhost/base "$root"
  stage=(--build-arg BASE=localhost/base --layers --volume /etc/apt/apt.conf.d:/etc/apt/apt.conf.d:ro)
}
if [ -n "${PORTPOOL_WHOLE:-}" ]; then compiled_in_the_image; else compiled_here; fi
for target in library poold; do
  buildah bud --quiet --isolation chroot --format docker "${stage[@]}" --target "$target" --tag "localhost/$target" \
    --file packaging/containers/Dockerfile . >"$work/$target.log" 2>&1 || { tail -n 20 "$work/$target.log"; exit 1; }
done

# The program: python3 with its library, and a client that checks every byte.
# shellcheck source=packaging/containers/collect.sh
source packaging/containers/with_libraries.sh
python=$(realpath "$(command -v /usr/bin/python3)")
with_libraries "$work/program" "$python" /usr/bin/python3
version=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
mkdir -p "$work/program/usr/lib/$version"
tar -C "/usr/lib/$version" --exclude=__pycache__ --exclude='config-*' --exclude=test --exclude='*.a' -c . |
  tar -C "$work/program/usr/lib/$version" -x
cp -r tests/system/programs/clients "$work/program/clients"
image localhost/program "$work/program"

podman run --rm --network host localhost/poold version >"$work/first.log" 2>&1 ||
  { tail -n 3 "$work/first.log"; skip "podman cannot run a container here"; }
# The pod's network.
exec unshare --net sh -c 'ip link set lo up && exec "$@"' sh /usr/bin/python3 -B tests/containers/pod_test.py "$work"
