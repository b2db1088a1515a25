// What manifests.sh has rendered:   node manifests.mjs TOOLS RENDERED RULES
//
// Each object is held against the API's schema, twice: kubernetes-models judges the values, and
// TypeScript, by that package's types, that there is no field which the API does not know. Then what only
// we know: pods are as the profile "restricted" of the Pod Security Standards, with named exceptions;
// names within a pod fit together; the chart and the overlay say the same, the alerts are the alerts.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [tools, rendered, rules] = process.argv.slice(2);
const require = createRequire(`${tools}/node_modules/`);
const yaml = require("yaml");

const modules = {
  "v1": "kubernetes-models/v1",
  "apps/v1": "kubernetes-models/apps/v1",
  "monitoring.coreos.com/v1": "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1",
};

async function checkValues(object) {
  const place = `${tools}/node_modules/${modules[object.apiVersion]}/${object.kind}.js`;
  const { [object.kind]: Model } = await import(pathToFileURL(place));
  new Model(structuredClone(object)).validate();
}

// By file and object: TypeScript refuses unknown fields of a literal alone.
function checkFields(files) {
  const lines = [];
  for (const [file, objects] of Object.entries(files)) {
    for (const object of objects) {
      const type = `import("${modules[object.apiVersion]}/${object.kind}").I${object.kind}`;
      lines.push(`export const _${lines.length}: ${type} = // ${file}`, JSON.stringify(object, null, 1) + ";");
    }
  }
  writeFileSync(`${tools}/objects.ts`, lines.join("\n"));
  const compilerOptions = {
    noEmit: true, strict: true, skipLibCheck: true, module: "esnext", moduleResolution: "bundler", types: [],
  };
  writeFileSync(`${tools}/tsconfig.json`, JSON.stringify({ compilerOptions, files: ["objects.ts"] }));
  execFileSync("node", [`${tools}/node_modules/typescript/bin/tsc`, "-p", tools], { stdio: "inherit" });
}

// What the profile forbids in the pod, as words.
function violations(pod) {
  const found = [];
  for (const name of ["hostNetwork", "hostPID", "hostIPC"]) if (pod[name]) found.push(name);
  const allowed = [
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
  ];
  for (const { name, ...volume } of pod.volumes ?? []) {
    for (const type of Object.keys(volume)) if (!allowed.includes(type)) found.push(`volume ${name}: ${type}`);
  }
  for (const container of [...(pod.initContainers ?? []), ...pod.containers]) {
    const own = container.securityContext ?? {};
    const both = { ...pod.securityContext, ...own };
    const say = (what) => found.push(`${container.name}: ${what}`);
    if (own.privileged) say("privileged");
    if (own.allowPrivilegeEscalation !== false) say("allowPrivilegeEscalation");
    if (!own.capabilities?.drop?.includes("ALL")) say("capabilities kept");
    for (const added of own.capabilities?.add ?? []) if (added !== "NET_BIND_SERVICE") say(`capability ${added}`);
    if (both.runAsNonRoot !== true) say("runAsNonRoot");
    if (both.runAsUser === 0) say("runAsUser 0");
    if (!["RuntimeDefault", "Localhost"].includes(both.seccompProfile?.type)) say("seccompProfile");
    // Not of the profile, but ours.
    if (own.readOnlyRootFilesystem !== true) say("root is writable");
    if (!container.resources?.requests?.memory || !container.resources?.limits?.memory) say("no resources");
    if (container.image === undefined) say("no image");
  }
  return found;
}

function checkNames(pod, maps) {
  const volumes = (pod.volumes ?? []).map((volume) => volume.name);
  for (const container of [...(pod.initContainers ?? []), ...pod.containers]) {
    for (const mount of container.volumeMounts ?? []) assert(volumes.includes(mount.name), `no volume ${mount.name}`);
  }
  for (const { configMap } of pod.volumes ?? []) if (configMap) assert(maps.includes(configMap.name), configMap.name);
}

const files = Object.fromEntries(
  readdirSync(rendered)
    .filter((file) => file.endsWith(".yaml"))
    .map((file) => [
      file.replace(".yaml", ""),
      yaml.parseAllDocuments(readFileSync(`${rendered}/${file}`, "utf8"), { merge: true }).map((one) => one.toJS()),
    ]),
);
const all = Object.values(files).flat();
for (const object of all) await checkValues(object);
checkFields(files);

const pods = {};
for (const [file, objects] of Object.entries(files)) {
  const maps = objects.filter((object) => object.kind === "ConfigMap").map((object) => object.metadata.name);
  for (const object of objects.filter((object) => object.spec?.template)) {
    const pod = object.spec.template.spec;
    pods[`${file}/${object.kind}`] = pod;
    checkNames(pod, maps);
  }
}
const onTheHost = ["hostNetwork", "volume socket: hostPath"];
const onTheHostByRoot = [...onTheHost, "capability CHOWN", "capability FOWNER", "runAsNonRoot", "runAsUser 0"]
  .map((word) => (onTheHost.includes(word) ? word : `folder: ${word}`));
const expected = {
  "sidecar/Deployment": [],
  "observe-only/Deployment": [],
  "own/StatefulSet": [],
  "node/Deployment": onTheHost,
  "node/DaemonSet": onTheHostByRoot,
  "chart/DaemonSet": onTheHostByRoot,
  "chart-monitoring/DaemonSet": onTheHostByRoot,
};
assert.deepEqual(Object.keys(pods).sort(), Object.keys(expected).sort());
for (const [name, pod] of Object.entries(pods)) assert.deepEqual(violations(pod), expected[name], name);

for (const name of ["sidecar/Deployment", "own/StatefulSet"]) {
  const pod = pods[name];
  assert.deepEqual(pod.initContainers.map((one) => one.name), ["portpool-library", "poold"]);
  assert.equal(pod.initContainers[1].restartPolicy, "Always");
  const program = pod.containers[0];
  assert.equal(program.env.find((one) => one.name === "LD_PRELOAD").value, "/portpool/libportpool.so");
  assert.deepEqual(program.env.find((one) => one.name === "PORTPOOL_SOCKET"),
    pod.initContainers[1].env.find((one) => one.name === "PORTPOOL_SOCKET"));
}
assert(files["observe-only"].some((object) => object.data?.["poold.toml"].includes('\nmode = "observe"\n')));
assert.equal(pods["own/StatefulSet"].initContainers[1].image, "registry.example/portpool/poold:1");

// The chart and the overlay: the same DaemonSet but for names, and the same configuration.
const only = (file, kind) => files[file].find((object) => object.kind === kind);
const [chart, overlay] = [only("chart", "DaemonSet"), only("node", "DaemonSet")].map((object) => {
  const pod = structuredClone(object.spec.template.spec);
  for (const { configMap } of pod.volumes) if (configMap) configMap.name = "";
  if (!pod.tolerations?.length) delete pod.tolerations;
  if (!Object.keys(pod.nodeSelector ?? {}).length) delete pod.nodeSelector;
  return pod;
});
assert.deepEqual(chart, overlay);
assert.equal(only("chart", "ConfigMap").data["poold.toml"].trim(), only("node", "ConfigMap").data["poold.toml"].trim());

const alerts = yaml.parse(readFileSync(rules, "utf8"));
for (const file of ["own", "chart-monitoring"]) {
  assert.deepEqual(only(file, "PrometheusRule").spec, alerts, "prometheusrule.yaml is not portpool.rules.yml");
  const endpoint = only(file, "PodMonitor").spec.podMetricsEndpoints[0];
  assert.equal(endpoint.port, "portpool");
  assert.equal(endpoint.relabelings[0].replacement, "portpool");
}
console.log(`manifests: ${all.length} objects are as they should be`);
