"""Renders docker-compose.yml for a profile and holds it against the compose specification.

    render.py FILE ENV PROFILE      prints the services of the profile as JSON

Variables come from ENV, as `docker compose --env-file ENV` takes them. Exit code 1 with a line for
each fault: a variable without a value, a field that the specification does not have, a mounted file
that is not there or a mount that cannot be made, a dependency that the profile does not start, a
service without a health check, a Grafana that is provisioned with what asks what it does not have.
"""

import json
import pathlib
import re
import sys

import compose_spec
import yaml

# Services without a health check of their own: two end at once, the third is asked by collector-probe.
UNASKED = {"rabbitmq-definitions", "influxdb3-setup", "collector"}
VARIABLE = re.compile(r"\$\{(\w+)(:\?|:-([^}]*))?\}")


def variables(path):
    lines = (line.strip() for line in pathlib.Path(path).read_text().splitlines())
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def interpolate(value, known, faults):
    if isinstance(value, dict):
        return {key: interpolate(of, known, faults) for key, of in value.items()}
    if isinstance(value, list):
        return [interpolate(of, known, faults) for of in value]
    if not isinstance(value, str):
        return value

    def told(match):
        name, _, default = match.groups()
        if not known.get(name) and default is None:
            faults.append(f"the variable {name} has no value")
        return known.get(name) or default or ""

    return VARIABLE.sub(told, value)


def mounts(folder, name, service):
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        if source.startswith("./") and not (folder / source).exists():
            yield f"{name} mounts {source}, which is not there"


def nested(name, service):
    """A mount within one that is read-only: nobody can make the place for it there."""
    parts = [volume.split(":") for volume in service.get("volumes", [])]
    for outer in parts:
        for inner in parts:
            if inner[1].startswith(outer[1] + "/") and "ro" in outer[2:]:
                yield f"{name} mounts {inner[1]} within {outer[1]}, which is read-only"


def provisioned(folder, name, service):
    """Dashboards and alert rules of a Grafana whose data source or folder it does not have."""
    mounted = [volume.split(":")[:2] for volume in service.get("volumes", []) if volume.startswith("./")]
    files = [folder / source for source, target in mounted if target.startswith("/etc/grafana/provisioning/")]
    documents = [yaml.safe_load(file.read_text()) for file in files if file.exists()]
    sources = {source["uid"] for document in documents for source in document.get("datasources", [])}
    for document in documents:
        for provider in document.get("providers", []):
            path = provider["options"]["path"]
            if not any((folder / path.replace(target, source)).is_dir() for source, target in mounted if path.startswith(target)):
                yield f"{name} looks for dashboards in {path}, where nothing is mounted"
        for group in document.get("groups", []):
            asked = {query["datasourceUid"] for rule in group["rules"] for query in rule["data"]}
            for uid in asked - sources - {"__expr__"}:
                yield f"{name} has alert rules that ask the data source {uid}, which it does not have"


def dependencies(name, service, started):
    for other, how in service.get("depends_on", {}).items():
        if other not in started and how.get("required", True):
            yield f"{name} waits for {other}, which the profile does not start"
        elif other in started and how["condition"] == "service_healthy":
            if "healthcheck" not in started[other]:
                yield f"{name} waits for {other} to be healthy, which has no health check"


def ports(started):
    seen = {}
    for name, service in started.items():
        for port in service.get("ports", []):
            if not port.startswith("127.0.0.1:"):
                yield f"{name} publishes {port} beyond loopback"
            if port in seen:
                yield f"{name} publishes {port}, which is {seen[port]}'s"
            seen[port] = name


def main():
    path, env, profile = sys.argv[1:]
    faults = []
    document = interpolate(yaml.safe_load(pathlib.Path(path).read_text()), variables(env), faults)
    try:
        compose_spec.PyCompose.from_yaml(yaml.safe_dump(document)).validate()
    except ValueError as error:
        faults.append(f"it is not of the compose specification: {error}")
    services = document["services"]
    started = {
        name: of for name, of in services.items() if not of.get("profiles") or profile in of["profiles"]
    }
    for name, service in started.items():
        faults += mounts(pathlib.Path(path).parent, name, service)
        faults += nested(name, service)
        faults += provisioned(pathlib.Path(path).parent, name, service)
        if "healthcheck" not in service and name not in UNASKED and not name.startswith("demo-"):
            faults.append(f"{name} has no health check")
        faults += dependencies(name, service, started)
        image = service["image"]
        if ":" not in image and image != "rabtrace":
            faults.append(f"{name}: the image {image} is not pinned")
    faults += ports(started)
    if faults:
        print("\n".join(sorted(set(faults))), file=sys.stderr)
        return 1
    print(json.dumps(started))
    return 0


if __name__ == "__main__":
    sys.exit(main())
