// Which spans are slow, by service, name and destination: average above one second.
bucket = "rabtrace"
since = -1h

from(bucket: bucket)
    |> range(start: since)
    |> filter(fn: (r) => r._measurement == "spans" and r._field == "duration_ms")
    |> map(fn: (r) => ({r with destination: if exists r.destination then r.destination else ""}))
    |> group(columns: ["service_name", "span_name", "destination"])
    |> reduce(
        identity: {spans: 0, sum: 0.0, max_ms: 0.0},
        fn: (r, accumulator) => ({
            spans: accumulator.spans + 1,
            sum: accumulator.sum + r._value,
            max_ms: if r._value > accumulator.max_ms then r._value else accumulator.max_ms,
        }),
    )
    |> map(
        fn: (r) => ({
            service_name: r.service_name,
            span_name: r.span_name,
            destination: r.destination,
            spans: r.spans,
            avg_ms: r.sum / float(v: r.spans),
            max_ms: r.max_ms,
        }),
    )
    |> filter(fn: (r) => r.avg_ms > 1000.0)
    |> group()
    |> sort(columns: ["avg_ms"], desc: true)
    |> limit(n: 50)
