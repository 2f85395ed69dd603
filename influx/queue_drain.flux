// How long until queues are empty, if they shrink on as between the first depth and the last.
bucket = "rabtrace"
since = -1h

from(bucket: bucket)
    |> range(start: since)
    |> filter(fn: (r) => r._measurement == "rabbitmq_queue" and r._field == "messages")
    |> group(columns: ["vhost", "queue"])
    |> sort(columns: ["_time"])
    |> reduce(
        identity: {polls: 0, first: 0, messages: 0, from: 0, to: 0},
        fn: (r, accumulator) => ({
            polls: accumulator.polls + 1,
            first: if accumulator.polls == 0 then r._value else accumulator.first,
            messages: r._value,
            from: if accumulator.polls == 0 then int(v: r._time) else accumulator.from,
            to: int(v: r._time),
        }),
    )
    |> filter(fn: (r) => r.to > r.from and r.messages < r.first and r.messages > 0)
    |> map(
        fn: (r) => ({
            vhost: r.vhost,
            queue: r.queue,
            messages: r.messages,
            drained_per_second: float(v: r.first - r.messages) * 1000000000.0 / float(v: r.to - r.from),
            drain_seconds: float(v: r.messages) * float(v: r.to - r.from) / (float(v: r.first - r.messages) * 1000000000.0),
        }),
    )
    |> group()
    |> sort(columns: ["drain_seconds"], desc: true)
    |> limit(n: 50)
