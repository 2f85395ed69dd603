"""Renders the chart with Helm itself, and holds what comes out against Kubernetes' schemas.

    render.py CHART VALUES.json       prints the manifests; exit code 1 with Helm's words if it refuses
    render.py --plain CHART FOLDER    writes the manifests of FOLDER; with --check it compares
    render.py --validate [FILE…]      checks manifests against the schemas

Helm comes as a library that installs; the cluster that it installs into is a listener in this
process that takes everything. What it was given is what Helm made of the chart.
"""

import asyncio
import base64
import gzip
import http.server
import json
import pathlib
import re
import sys
import tempfile
import threading

import helm_sdkpy
import kubernetes_validate
import yaml

# The kinds of the cluster, by group and version.
KINDS = {
    "v1": {"Secret": "secrets", "Service": "services", "ServiceAccount": "serviceaccounts"},
    "apps/v1": {"StatefulSet": "statefulsets"},
    "networking.k8s.io/v1": {"NetworkPolicy": "networkpolicies"},
    "monitoring.coreos.com/v1": {"ServiceMonitor": "servicemonitors", "PrometheusRule": "prometheusrules"},
}
# Oldest and newest Kubernetes that the chart is held against.
VERSIONS = ("1.28", "1.37")


def resources(group):
    kinds = KINDS[group].items()
    verbs = ["get", "list", "create", "patch"]
    listed = [{"name": name, "kind": kind, "namespaced": True, "verbs": verbs} for kind, name in kinds]
    return {"kind": "APIResourceList", "groupVersion": group, "resources": listed}


def discovery(path):
    """What a cluster says of itself at `path`; nothing if there is no such thing."""
    groups = [name.split("/") for name in KINDS if "/" in name]
    entry = lambda name, version: {"groupVersion": f"{name}/{version}", "version": version}
    answers = {
        "/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.0"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": [
                {"name": n, "versions": [entry(n, v)], "preferredVersion": entry(n, v)} for n, v in groups
            ],
        },
        "/api/v1": resources("v1"),
        **{f"/apis/{name}": resources(name) for name in KINDS if "/" in name},
    }
    return answers.get(path)


class Cluster(http.server.BaseHTTPRequestHandler):
    """Takes everything, has nothing, and keeps the release that Helm records."""

    release = None

    def answer(self, code, body, kind="application/json"):
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        path = self.path.split("?")[0]
        found = discovery(path)
        if found is None and path.endswith("/secrets"):
            found = {"kind": "SecretList", "apiVersion": "v1", "metadata": {}, "items": []}
        missing = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
        self.answer(404 if found is None else 200, json.dumps(found or missing).encode())

    def take(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.split("?")[0].endswith("/secrets") and Cluster.release is None:
            Cluster.release = body
        self.answer(201, body, self.headers["Content-Type"])

    do_POST = do_PUT = do_PATCH = take

    def log_message(self, *_):
        pass


def install(chart, values):
    """Installs the chart; the manifests of the release that Helm recorded."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Cluster)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    cluster = {"server": f"http://127.0.0.1:{server.server_address[1]}"}
    access = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": {}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    }
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(access, file)
        file.flush()
        config = helm_sdkpy.Configuration(namespace="default", kubeconfig=file.name)
        work = helm_sdkpy.Install(config).run("rabtrace", chart, values=values, wait=False, timeout=30)
        asyncio.run(work)
    # The secret comes as protobuf; in it the release is JSON, gzip and base64, which begins so.
    for found in re.findall(rb"H4sI[A-Za-z0-9+/=]+", Cluster.release):
        return json.loads(gzip.decompress(base64.b64decode(found)))["manifest"]
    raise SystemExit("Helm recorded no release")


def validate(files):
    checked = 0
    for file in files:
        for manifest in yaml.safe_load_all(pathlib.Path(file).read_text()):
            if manifest["apiVersion"].startswith("monitoring.coreos.com/"):
                continue
            for version in VERSIONS:
                kubernetes_validate.validate(manifest, version, strict=True)
            checked += 1
    print(f"{checked} manifests fit Kubernetes {' and '.join(VERSIONS)}")


# Of the plain manifests: what they need is made by hand, and Helm does not manage them.
PLAIN = {"existingSecret": "rabtrace", "serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}}
HELM_ALONE = re.compile(r"^# Source:.*\n|^ +(app\.kubernetes\.io/managed-by|helm\.sh/chart):.*\n", re.MULTILINE)


def plain(chart, folder, check):
    text = HELM_ALONE.sub("", install(chart, PLAIN))
    documents = [part.strip() for part in re.split(r"^---$", text, flags=re.MULTILINE) if part.strip()]
    of_operator = lambda text: "apiVersion: monitoring.coreos.com/" in text
    files = {
        "rabtrace.yaml": [text for text in documents if not of_operator(text)],
        "monitoring.yaml": [text for text in documents if of_operator(text)],
    }
    stale = []
    for name, parts in files.items():
        text = "# Made by `make kubernetes` from the chart.\n" + "\n---\n".join(parts) + "\n"
        file = pathlib.Path(folder) / name
        if not check:
            file.write_text(text)
        elif not file.exists() or file.read_text() != text:
            stale.append(f"{file} is not what the chart makes: make kubernetes")
    if stale:
        raise SystemExit("\n".join(stale))


def main():
    if sys.argv[1] == "--plain":
        return plain(sys.argv[2], sys.argv[3], "--check" in sys.argv)
    if sys.argv[1] == "--validate":
        return validate(sys.argv[2:])
    try:
        print(install(sys.argv[1], json.loads(pathlib.Path(sys.argv[2]).read_text())), end="")
    except helm_sdkpy.HelmError as error:
        raise SystemExit(str(error))


if __name__ == "__main__":
    main()
