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


MODES = (
    ("raw", "lapin itself"),
    ("raw_again", "lapin itself, again: the noise"),
    ("parent", "lapin, a hand-made `traceparent`"),
    ("parent_and_path", "lapin, hand-made `traceparent` and `tracestate`: the floor"),
    ("no_tracer", "traced, no SDK installed, no parent"),
    ("unsampled", "traced, the SDK drops every span"),
    ("unsampled_late", "the same, `with_late_attributes()`"),
    ("tenth", "traced, one trace in ten is sampled"),
    ("recorded", "traced, every span recorded, queued and thrown away"),
    ("recorded_without_settle", "the same without spans of settlements"),
    ("metrics", "every span recorded, and metrics"),
    ("exported", "traced, every span exported by the SDK (OTLP)"),
)
COUNTED = (
    ("publish", "Published and confirmed"),
    ("deliver", "Delivered, without acknowledgement"),
    ("deliver_ack", "Delivered, and acknowledged by the delivery"),
    ("deliver_channel_ack", "Delivered, and acknowledged through the channel"),
)
BROKER = (
    ("publish", "Published and confirmed"),
    ("consume_ack", "Consumed, and acknowledged by the delivery"),
    ("consume_channel_ack", "Consumed, and acknowledged through the channel"),
)


def report(name):
    return json.loads((ROOT / "target" / name).read_text())


def table(head, rows):
    rule = "|---|" + "--:|" * (len(head) - 1)
    lines = [" | ".join(row) for row in (head, *rows)]
    lines = [f"| {line} |" for line in lines]
    return "\n".join([lines[0], rule, *lines[1:]])


def counted(counts):
    """Instructions and allocations of one message, a table for each side."""
    parts = []
    for side, title in COUNTED:
        rows = []
        for mode, meaning in MODES:
            if f"{side}/{mode}" not in counts:
                continue
            of = lambda mode, key: counts[f"{side}/{mode}"][key]
            application, process = (of(mode, f"{part}_instructions") for part in ("application", "process"))
            rows.append((
                meaning,
                f"{application:,.0f}",
                f"{application - of('parent_and_path', 'application_instructions'):+,.0f}",
                f"{process:,.0f}",
                f"{process / of('parent_and_path', 'process_instructions') - 1:+.1%}".replace("%", " %"),
                f"{of(mode, 'application_allocations'):.1f}",
                f"{of(mode, 'process_allocations'):.1f}",
            ))
        head = (title, "instructions", "over the floor", "all threads", "over the floor", "allocations", "all threads")
        parts.append(table(head, rows))
    return "\n\n".join(parts)


def timed(figures, side, title):
    rows = []
    for mode, meaning in MODES:
        if f"{side}/{mode}" not in figures:
            continue
        row = figures[f"{side}/{mode}"]
        rows.append((
            meaning,
            time(row["wall_ns"]),
            time(row["application_ns"]),
            time(row["process_ns"]),
            f"{row['throughput_of_raw']:.2f}",
            f"{row['throughput_of_floor']:.2f}",
        ))
    head = (title, "time", "CPU, application", "CPU, all threads", "of lapin's rate", "of the floor's")
    return table(head, rows)


def shares(cost):
    """Whose the instructions over the floor are, by mode: the SDK's and the path's by themselves."""
    sdk, steps = cost.get("sdk") or {}, cost["checkpoints"]
    if not sdk or any(of["instructions"] is None for of in steps.values()):
        return {}
    span = {name: of["instructions"] for name, of in sdk.items()}
    step = {name: of["instructions"] for name, of in steps.items()}
    bare = (step["out_bare"], step["in_bare"])
    return {
        # A delivery whose publish is not sampled gets its attributes late in any case.
        "unsampled": ((span["dropped"], span["dropped_late"]), bare),
        "unsampled_late": ((span["dropped_late"],) * 2, bare),
        "recorded": ((span["recorded"],) * 2, bare),
        "metrics": ((span["recorded"],) * 2, (step["out"], step["in_to_end"])),
    }


def goals(cost, broker):
    """What is to be reached, what was measured, and whose it is."""
    counts, alone, whose = cost["counts"], cost["rounds"], shares(cost)
    full = "metrics" if "publish/metrics" in alone else "recorded"
    called = "recorded with metrics" if full == "metrics" else "recorded, without metrics"
    sides = ("publish", "deliver")
    rows = []

    def add(what, reach, *measured, parts=("", "", "")):
        rows.append((what, reach, " / ".join(measured), *parts))

    if counts:
        def over(side, mode, base, key):
            return counts[f"{side}/{mode}"][key] - counts[f"{side}/{base}"][key]

        def application(mode, base, key, digits):
            # Less than nothing is noise: no "-0.0".
            measured = [round(over(side, mode, base, f"application_{key}"), digits) + 0.0 for side in sides]
            return [f"{value:,.{digits}f}" for value in measured]

        def parts(mode):
            if mode not in whose:
                return "", "", ""
            total = [over(side, mode, "parent_and_path", "application_instructions") for side in sides]
            sdk, path = whose[mode]
            ours = [all_of - of_sdk - of_path for all_of, of_sdk, of_path in zip(total, sdk, path)]
            return [" / ".join(f"{round(value):,}" for value in part) for part in (sdk, path, ours)]

        def client(mode):
            both = [sum(counts[f"{side}/{of}"]["process_instructions"] for side in ("publish", "deliver_ack"))
                    for of in (mode, "parent_and_path")]
            return f"{both[0] / both[1] - 1:+.1%}".replace("%", " %")

        add("no tracer, no parent, over lapin: instructions, publish / delivery", "≤ 100",
            *application("no_tracer", "raw", "instructions", 0))
        add("the same: allocations", "0", *application("no_tracer", "raw", "allocations", 1))
        add("unsampled, over the floor: instructions", "≤ 1,500 / 1,400",
            *application("unsampled", "parent_and_path", "instructions", 0), parts=parts("unsampled"))
        add("the same: allocations", "≤ 3 / 1", *application("unsampled", "parent_and_path", "allocations", 1))
        if "publish/unsampled_late" in counts:
            add("unsampled, `with_late_attributes()`: instructions", "≤ 1,500 / 1,400",
                *application("unsampled_late", "parent_and_path", "instructions", 0), parts=parts("unsampled_late"))
        add(f"{called}, over the floor: instructions", "≤ 2,900 / 2,750",
            *application(full, "parent_and_path", "instructions", 0), parts=parts(full))
        add("the same: allocations", "≤ 4 / 2", *application(full, "parent_and_path", "allocations", 1))
    spent = [alone[f"{side}/{full}"]["application_ns"] - alone[f"{side}/parent_and_path"]["application_ns"]
             for side in sides]
    add(f"{called}, over the floor: ns of CPU", "≤ 280 / 260", *[f"{ns:,.0f}" for ns in spent])
    if counts:
        settle = over("deliver_ack", "recorded", "recorded_without_settle", "application_instructions")
        sdk = whose["recorded"][0][0] if whose else None
        add("settle span: instructions", "≤ 1,500", f"{settle:,.0f}",
            parts=(f"{sdk:,.0f}", "", f"{settle - sdk:,.0f}") if whose else ("", "", ""))
        add("whole client, both sides, over the floor, unsampled: instructions", "≤ +2 %", client("unsampled"))
        add(f"the same, {called}", "≤ +10 %", client(full))
    for mode, meaning, reach in (("unsampled", "unsampled", "≥ 0.99"), (full, called, "≥ 0.97"),
                                 ("exported", "exported by the SDK", "≥ 0.95")):
        add(f"rate with confirms on the broker, of the floor's, {meaning}: publish / consume", reach,
            *[f"{broker[f'{side}/{mode}']['throughput_of_floor']:.2f}" for side in ("publish", "consume_ack")])
    lapin = sum(broker[f"{side}/raw"]["wall_ns"] for side in ("publish", "consume_ack"))
    traced = sum(broker[f"{side}/unsampled"]["wall_ns"] for side in ("publish", "consume_channel_ack"))
    add("rate on the broker, of lapin's, unsampled, settled through the channel", "≥ 1.0", f"{lapin / traced:.2f}")
    return table(("per message of 256 bytes", "reach", "measured", "the SDK's", "the path's", "ours"), rows)


def ingest():
    spans = 512
    rows = []
    for name, meaning in (
        ("read", "from the wire into spans of the agent's, elements counted"),
        ("intake", "the same, and hand over"),
        ("http_loopback", "the same over HTTP on loopback"),
        ("scan", "where a request is not as SDKs write it: count elements"),
        ("prost_decode", "there: decode the protobuf"),
        ("to_model", "there: into spans of the agent's"),
    ):
        ns = median_ns("otlp_ingest", name)
        rows.append(f"| {meaning} | {time(ns)} | {spans / ns * 1e9:,.0f} |")
    return "\n".join([f"| request of {spans} spans | time | spans per second |", "|---|--:|--:|", *rows])


def paths(checkpoints, flow):
    """What a checkpoint costs a service, and what paths cost the agent."""
    names = (
        ("out", "`out`, a publish"),
        ("in", "`in`, a delivery"),
        ("in_to_end", "`in`, and the delivery's end"),
        ("out_bare", "`out`, without a meter"),
        ("in_bare", "`in`, without a meter"),
        ("write", "the context as text"),
        ("read", "the context from text"),
    )
    known = {key.replace(" ", "_"): value for key, value in checkpoints.items()}
    rows = []
    for key, meaning in names:
        if key in known:
            of = known[key]
            counts = [f"{of[what]:,.{digits}f}" if of[what] is not None else "-"
                      for what, digits in (("instructions", 0), ("allocations", 1))]
            rows.append((meaning, time(of["ns"]), *counts))
    text = table(("checkpoint, of a service", "time", "instructions", "allocations"), rows)
    rate = {number: 3 * number / median_ns("flow", f"records_of_{number}_checkpoints") * 1e9 for number in (20, 10000)}
    rows = [
        ("records merged per second, one core: 20 checkpoints", f"{rate[20]:,.0f}"),
        ("the same: 10,000 checkpoints", f"{rate[10000]:,.0f}"),
        ("memory at 10,000 paths, a window of each open", f"{flow['memory_kib_of_10000_paths'] / 1024:,.0f} MiB"),
        ("a day of windows of 20 checkpoints merged, by sums of 5 minutes", time(median_ns("flow", "merge_a_day_of_flow_sums"))),
        ("the same without sums: 172,800 rows", time(median_ns("flow", "merge_a_day_of_flow"))),
        ("making the sums of an hour", f"{flow['sum_of_an_hour_ms']:.0f} ms"),
    ]
    return text + "\n\n" + table(("the agent", "measured"), rows)


def whole_agent(delivery):
    """The agent as a process, from OTLP to its sinks."""
    through, points, memory = (delivery[name] for name in ("through", "points", "memory"))
    passed, agent, rotel = (through[f"{name}_spans_per_core"] for name in ("pass_through", "agent", "rotel"))
    # Without rotel installed there is nothing to compare with.
    ratio = lambda rate: f"{rate / rotel:.2f}" if rotel else "-"
    encoded = 1e9 / median_ns("line_protocol", "rabtrace")
    return table(
        ("the whole agent", "reach", "measured"),
        [
            ("spans per second of one core: received, in the spool, forwarded (`store.spans = false`)", "-", f"{passed:,.0f}"),
            ("the same, stored too", "-", f"{agent:,.0f}"),
            ("through rotel, which neither stores nor syncs", "-", f"{rotel:,.0f}"),
            ("passed through, of rotel's", "≥ 1.0", ratio(passed)),
            ("stored too, of rotel's", "-", ratio(agent)),
            ("points acknowledged and durable per second", "≥ 100,000", f"{points['acknowledged_per_second']:,.0f}"),
            ("points per second of one core: received, stored, in the spool, written", "-", f"{points['points_per_core']:,.0f}"),
            ("lines of line protocol encoded per second of one core", "≥ 2,000,000", f"{encoded:,.0f}"),
            ("memory at rest", "≤ 40 MiB", f"{memory['rest_kib'] / 1024:,.0f} MiB"),
            (f"memory at {memory['rate']:,.0f} points per second", "≤ 96 MiB", f"{memory['peak_kib_at_20000'] / 1024:,.0f} MiB"),
            ("cores at that rate", "-", f"{memory['cores_at_20000']:.2f}"),
        ],
    )


def main():
    try:
        own, crate = (median_ns("line_protocol", name) for name in ("rabtrace", "influxdb-line-protocol"))
        insert, queues = (median_ns("store_insert", name) for name in ("1000_spans", "10000_queues"))
        run, found, behind = (median_ns("store_index", name) for name in ("run", "trace_in_a_run", "trace_behind"))
        cost, broker, received = report("cost.json"), report("publish_consume.json"), ingest()
        steps = paths(cost["checkpoints"], report("flow.json"))
        agent = whole_agent(report("delivery.json"))
    except FileNotFoundError as error:
        sys.exit(f"error: {error.filename} is missing\n  fix    make bench")
    counts, alone = cost["counts"], cost["rounds"]
    instructions = counted(counts) if counts else "Not counted: there was no valgrind (`scripts/install.sh bench`)."
    text = f"""# Performance

Made by `make bench` on {machine()}. Instructions and allocations do not drift; times do: compare
those of one table with each other, not with another machine's.

## What tracing costs, and what it should

{goals(cost, broker)}

The floor is lapin with the headers that a trace and a path need, written and read by hand: no tracer
that propagates both can go below it. The last columns say whose the instructions are. The SDK's is a
span of its own with the attributes of a publish, started and ended by themselves; the path's is a
checkpoint by itself (below), which the reach was set without; ours is the rest, with the other
instruments of the SDK and what memory that lives longer costs. Where the first two alone are more
than the reach, nothing here can keep it.

## Instructions and allocations of a message

`cargo bench -p rabtrace-lapin --bench cost --features bound-metrics` counts them with callgrind, against a scripted server of
another process: the application's own thread, then all threads of the client, with the export.

{instructions}

## Time of a message, without a broker

The same benchmark, the modes taking turns of 1,024 messages; rates are medians over the rounds. The
scripted server is faster than any broker: here, a client's own time is nearly all there is.

{chr(10).join(timed(alone, side, title) + chr(10) for side, title in COUNTED)}
## Time of a message, through a broker

`cargo bench --bench publish_consume --features rabtrace-lapin/bound-metrics`: RabbitMQ on the same cores, 64 messages under way at once, the
modes taking turns of 512.

{chr(10).join(timed(broker, side, title) + chr(10) for side, title in BROKER)}
## Paths

`cargo bench -p rabtrace-lapin --bench cost --features bound-metrics -- checkpoints` has a checkpoint by itself, with histograms of
320 exponential buckets in the SDK; `cargo bench --bench flow` the agent.

{steps}

## OTLP in

{received}

## The agent beside another collector

`cargo bench --bench delivery`: the program as a process, requests of 512 spans over HTTP, its upstream
and InfluxDB scripted in the benchmark's process. Cores are counted in time of a processor, of user and
system; the collectors take turns. What the agent acknowledged is synced.

{agent}

## Line protocol

A span as one line: {time(own)} with the agent's encoder, {time(crate)} with the builder of the
`influxdb-line-protocol` crate, {crate / own:.1f} times as long.

## Store

1,000 spans in one transaction: {time(insert)}, {1000 / insert * 1e9:,.0f} spans per second on one thread.
A poll of 10,000 queues, their points in one transaction: {time(queues)}.
A step of the index by trace id, 65,536 spans, for which batches wait: {time(run)}. In an hour of
1,114,000 spans a trace is found in {time(found)}, one of the 65,424 that no run has yet in {time(behind)}.
"""
    (ROOT / "docs" / "performance.md").write_text(text)


main()
