// How long the steps of tasks take, by creator and status.
bucket = "rabtrace"
since = -1h

from(bucket: bucket)
    |> range(start: since)
    |> filter(fn: (r) => r._measurement == "task_metrics")
    |> filter(fn: (r) => r._field == "status" or r._field == "duration_seconds")
    |> map(fn: (r) => ({r with creator_id: if exists r.creator_id then r.creator_id else ""}))
    |> pivot(rowKey: ["_time", "creator_id"], columnKey: ["_field"], valueColumn: "_value")
    |> group(columns: ["creator_id", "status"])
    |> reduce(
        identity: {steps: 0, sum: 0.0, max_seconds: 0.0},
        fn: (r, accumulator) => ({
            steps: accumulator.steps + 1,
            sum: accumulator.sum + r.duration_seconds,
            max_seconds: if r.duration_seconds > accumulator.max_seconds then r.duration_seconds else accumulator.max_seconds,
        }),
    )
    |> map(
        fn: (r) => ({
            creator_id: r.creator_id,
            status: r.status,
            steps: r.steps,
            avg_seconds: r.sum / float(v: r.steps),
            max_seconds: r.max_seconds,
        }),
    )
    |> group()
    |> sort(columns: ["creator_id", "status"])
    |> limit(n: 50)
