// Which operations are slow, by agent and type of notification: average above one second.
bucket = "rabtrace"
since = -1h

from(bucket: bucket)
    |> range(start: since)
    |> filter(fn: (r) => r._measurement == "agent_metrics")
    |> filter(fn: (r) => r._field == "notifications_received" or r._field == "duration_ms" or r._field == "duration_max_ms")
    |> map(fn: (r) => ({r with _value: float(v: r._value), notification_type: if exists r.notification_type then r.notification_type else ""}))
    |> group(columns: ["agent_id", "notification_type"])
    |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
    |> filter(fn: (r) => exists r.duration_ms and r.notifications_received > 0.0)
    |> reduce(
        identity: {notifications: 0.0, sum: 0.0, max_ms: 0.0},
        fn: (r, accumulator) => ({
            notifications: accumulator.notifications + r.notifications_received,
            sum: accumulator.sum + r.duration_ms * r.notifications_received,
            max_ms: if r.duration_max_ms > accumulator.max_ms then r.duration_max_ms else accumulator.max_ms,
        }),
    )
    |> map(
        fn: (r) => ({
            agent_id: r.agent_id,
            notification_type: r.notification_type,
            notifications: int(v: r.notifications),
            avg_ms: r.sum / r.notifications,
            max_ms: r.max_ms,
        }),
    )
    |> filter(fn: (r) => r.avg_ms > 1000.0)
    |> group()
    |> sort(columns: ["avg_ms"], desc: true)
    |> limit(n: 50)
