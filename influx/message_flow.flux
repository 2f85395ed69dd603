// Which paths do messages take: messages, errors, and the worst window's p95 of those that came the
// first time, in the last hour.
from(bucket: "rabtrace")
    |> range(start: -1h)
    |> filter(fn: (r) => r._measurement == "message_flow" and r.direction == "in")
    |> filter(fn: (r) => r._field == "count" or r._field == "errors" or r._field == "duration_p95")
    |> filter(fn: (r) => r._field != "duration_p95" or r.kind == "forward" or r.kind == "reply")
    |> map(fn: (r) => ({r with _value: float(v: r._value)}))
    |> group(columns: ["path", "_field"])
    |> reduce(
        identity: {sum: 0.0, max: 0.0},
        fn: (r, accumulator) => ({
            sum: accumulator.sum + r._value,
            max: if r._value > accumulator.max then r._value else accumulator.max,
        }),
    )
    |> map(fn: (r) => ({path: r.path, _field: r._field, _value: if r._field == "duration_p95" then r.max else r.sum}))
    |> group()
    |> pivot(rowKey: ["path"], columnKey: ["_field"], valueColumn: "_value")
    |> sort(columns: ["count"], desc: true)
