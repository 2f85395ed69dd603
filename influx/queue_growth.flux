// Which queues grow: messages per second between the first depth and the last.
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
    |> filter(fn: (r) => r.to > r.from and r.messages > r.first)
    |> map(
        fn: (r) => ({
            vhost: r.vhost,
            queue: r.queue,
            messages: r.messages,
            growth_per_second: float(v: r.messages - r.first) * 1000000000.0 / float(v: r.to - r.from),
        }),
    )
    |> group()
    |> sort(columns: ["growth_per_second"], desc: true)
    |> limit(n: 50)
