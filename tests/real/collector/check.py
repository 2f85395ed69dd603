"""Looks at the Collector's configurations: what a pipeline names is there, what is there is used,
each component is one that the Collector has, and its processors stand in the order that it asks for.

    check.py FILE…      a line for each fault; exit code 1 if there is any
"""

import pathlib
import re
import sys

import yaml

KNOWN = {
    "receivers": {"otlp", "filelog", "fluentforward"},
    "processors": {"memory_limiter", "batch", "resource", "transform"},
    "exporters": {"otlp", "otlphttp", "prometheus"},
    "extensions": {"health_check", "file_storage"},
}


def used(config, kind):
    """Components of this kind that the service or another component names."""
    service = config["service"]
    if kind == "extensions":
        return set(service.get("extensions", []))
    return {name for pipeline in service["pipelines"].values() for name in pipeline.get(kind, [])}


def storages(config):
    """Extensions in which a receiver or an exporter keeps what waits."""
    for components in (config["receivers"], config["exporters"]):
        for component in components.values():
            yield from (part["storage"] for part in (component, component.get("sending_queue", {})) if "storage" in part)


def faults(config):
    for kind, known in KNOWN.items():
        there = set(config.get(kind, {}))
        for name in there | used(config, kind):
            if name.split("/")[0] not in known:
                yield f"{kind}: the Collector has no {name}"
        for name in there ^ used(config, kind):
            yield f"{kind}: {name} is {'not used' if name in there else 'not there'}"
    for name in set(storages(config)) - used(config, "extensions"):
        yield f"extensions: {name} is not started"
    for signal, pipeline in config["service"]["pipelines"].items():
        order = pipeline["processors"]
        if order[0] != "memory_limiter" or order[-1] != "batch":
            yield f"{signal}: memory_limiter comes first and batch last"
    for name in re.findall(r"\$\{(?!env:)[^}]*\}", yaml.safe_dump(config)):
        yield f"{name} is no variable of the environment"


def main():
    found = [
        f"{file}: {fault}"
        for file in sys.argv[1:]
        for fault in faults(yaml.safe_load(pathlib.Path(file).read_text()))
    ]
    print("\n".join([*found, f"{len(sys.argv) - 1} configurations, {len(found)} faults"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
