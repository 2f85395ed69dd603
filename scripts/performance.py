#!/usr/bin/env python3
"""Writes docs/performance.md from the benchmarks of the last `cargo bench`.

Figures are medians; ratios are taken within one run. The machine is
named by its cores and memory only.
"""

import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CRITERION = ROOT / "target" / "criterion"


def median_ns(group, name):
    estimates = json.loads((CRITERION / group / name / "new" / "estimates.json").read_text())
    return estimates["median"]["point_estimate"]


def time(ns):
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns:.3g} ns"


def machine():
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB of memory"


def messages(side):
    report = json.loads((ROOT / "target" / "publish_consume.json").read_text())
    rows = []
    for name, meaning in (
        ("raw", "lapin itself"),
        ("raw_again", "lapin itself, again: the noise"),
        ("no_tracer", "traced, no SDK installed"),
        ("unsampled", "traced, the SDK drops every span"),
        ("recorded", "traced, the SDK records every span and throws it away"),
    ):
        figures = report[f"{side}/{name}"]
        rows.append(f"| {meaning} | {figures['micros']:.1f} µs | {figures['ratio']:.2f} |")
    return "\n".join(["| 256-byte message | median each | against lapin |", "|---|--:|--:|", *rows])


def ingest():
    spans = 512
    rows = []
    for name, meaning in (
        ("scan", "scan: count elements before anything is decoded"),
        ("prost_decode", "decode the protobuf"),
        ("to_model", "into spans of the agent's"),
        ("intake", "all of it, and hand over"),
        ("http_loopback", "the same over HTTP on loopback"),
    ):
        ns = median_ns("otlp_ingest", name)
        rows.append(f"| {meaning} | {time(ns)} | {spans / ns * 1e9:,.0f} |")
    return "\n".join([f"| request of {spans} spans | time | spans per second |", "|---|--:|--:|", *rows])


def main():
    try:
        own, crate = (median_ns("line_protocol", name) for name in ("rabtrace", "influxdb-line-protocol"))
        insert = median_ns("store_insert", "1000_spans")
        tables = [messages("publish"), messages("consume"), ingest()]
    except FileNotFoundError as error:
        sys.exit(f"error: {error.filename} is missing\n  fix    cargo bench")
    text = f"""# Performance

Made by `make bench` on {machine()}. Machines are noisy: compare figures of this page with each other,
not with another machine's. Broker and client share the cores. The modes of publishing and consuming
take turns, 256 messages at a time, and their ratios are medians over the rounds of one run.

## Publishing, confirms awaited 256 at a time

{tables[0]}

## Consuming, each message acknowledged by itself

{tables[1]}

The traced rows hold what no tracer can go below as well: a header to encode and to parse, and for a
recorded delivery two spans, that of the processing and that of the acknowledgement.

## OTLP in

{tables[2]}

## Line protocol

A span as one line: {time(own)} with the agent's encoder, {time(crate)} with the builder of the
`influxdb-line-protocol` crate, {crate / own:.1f} times as long.

## Store

1,000 spans in one transaction: {time(insert)}, {1000 / insert * 1e9:,.0f} spans per second on one thread.
"""
    (ROOT / "docs" / "performance.md").write_text(text)


main()
