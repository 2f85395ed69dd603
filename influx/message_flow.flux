// Which paths do messages take: messages, errors, redeliveries, and of those that came the first
// time the average and the worst window's p95.
bucket = "rabtrace"
since = -1h

first = (kind) => kind == "forward" or kind == "reply"

from(bucket: bucket)
    |> range(start: since)
    |> filter(fn: (r) => r._measurement == "message_flow" and r.direction == "in")
    |> filter(fn: (r) => r._field == "count" or r._field == "errors" or r._field == "redelivered" or r._field == "duration_sum" or r._field == "duration_p95")
    |> map(fn: (r) => ({r with _value: float(v: r._value)}))
    |> group(columns: ["path"])
    |> reduce(
        identity: {messages: 0.0, errors: 0.0, redelivered: 0.0, timed: 0.0, sum: 0.0, worst_p95_ms: 0.0},
        fn: (r, accumulator) => ({
            messages: accumulator.messages + (if r._field == "count" then r._value else 0.0),
            errors: accumulator.errors + (if r._field == "errors" then r._value else 0.0),
            redelivered: accumulator.redelivered + (if r._field == "redelivered" then r._value else 0.0),
            timed: accumulator.timed + (if r._field == "count" and first(kind: r.kind) then r._value else 0.0),
            sum: accumulator.sum + (if r._field == "duration_sum" and first(kind: r.kind) then r._value else 0.0),
            worst_p95_ms: if r._field == "duration_p95" and first(kind: r.kind) and r._value > accumulator.worst_p95_ms then r._value else accumulator.worst_p95_ms,
        }),
    )
    |> map(
        fn: (r) => ({
            path: r.path,
            messages: int(v: r.messages),
            errors: int(v: r.errors),
            redelivered: int(v: r.redelivered),
            avg_ms: if r.timed > 0.0 then r.sum / r.timed else 0.0,
            worst_p95_ms: r.worst_p95_ms,
        }),
    )
    |> group()
    |> sort(columns: ["messages"], desc: true)
    |> limit(n: 50)
