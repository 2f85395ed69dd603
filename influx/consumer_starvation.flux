// Which queues had messages ready and no consumer, and for how many of the polls.
bucket = "rabtrace"
since = -1h

from(bucket: bucket)
    |> range(start: since)
    |> filter(fn: (r) => r._measurement == "rabbitmq_queue")
    |> filter(fn: (r) => r._field == "messages_ready" or r._field == "consumers")
    |> group(columns: ["vhost", "queue"])
    |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
    |> filter(fn: (r) => exists r.messages_ready and exists r.consumers)
    |> reduce(
        identity: {polls: 0, starved_polls: 0, max_ready: 0},
        fn: (r, accumulator) => ({
            polls: accumulator.polls + 1,
            starved_polls: accumulator.starved_polls + (if r.messages_ready > 0 and r.consumers == 0 then 1 else 0),
            max_ready: if r.messages_ready > accumulator.max_ready then r.messages_ready else accumulator.max_ready,
        }),
    )
    |> filter(fn: (r) => r.starved_polls > 0)
    |> group()
    |> keep(columns: ["vhost", "queue", "polls", "starved_polls", "max_ready"])
    |> sort(columns: ["starved_polls"], desc: true)
    |> limit(n: 50)
