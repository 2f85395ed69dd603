// Keeps the windows of 10 s for 30 days: copies them out of the raw bucket, which keeps 7 days.
option task = {name: "rabtrace windows of 10 s", every: 1m, offset: 30s}

from(bucket: "rabtrace")
    |> range(start: -task.every)
    |> filter(fn: (r) => r._measurement == "message_flow" or r._measurement == "service_metrics" or r._measurement == "queue_metrics" or r._measurement == "agent_metrics")
    |> filter(fn: (r) => r._field != "histogram")
    |> to(bucket: "rabtrace_10s")
