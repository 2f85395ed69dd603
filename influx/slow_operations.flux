// Which operations are slow: average above one second, in the last hour.
from(bucket: "rabtrace")
    |> range(start: -1h)
    |> filter(fn: (r) => r._measurement == "spans" and r._field == "duration_ms")
    |> group(columns: ["service_name", "span_name", "destination"])
    |> reduce(
        identity: {count: 0, sum: 0.0, max: 0.0},
        fn: (r, accumulator) => ({
            count: accumulator.count + 1,
            sum: accumulator.sum + r._value,
            max: if r._value > accumulator.max then r._value else accumulator.max,
        }),
    )
    |> map(fn: (r) => ({r with avg_ms: r.sum / float(v: r.count)}))
    |> filter(fn: (r) => r.avg_ms > 1000.0)
    |> group()
    |> sort(columns: ["avg_ms"], desc: true)
