// Which services fail: share of failed requests in windows of five minutes, where above 5 %.
bucket = "rabtrace"
since = -1h

from(bucket: bucket)
    |> range(start: since)
    |> filter(fn: (r) => r._measurement == "service_metrics")
    |> filter(fn: (r) => r._field == "requests" or r._field == "errors")
    |> truncateTimeColumn(unit: 5m)
    |> group(columns: ["_time", "service_name", "_field"])
    |> sum()
    |> group()
    |> pivot(rowKey: ["_time", "service_name"], columnKey: ["_field"], valueColumn: "_value")
    |> filter(fn: (r) => r.requests > 0)
    |> map(
        fn: (r) => ({
            window_start: r._time,
            service_name: r.service_name,
            requests: r.requests,
            errors: r.errors,
            error_rate: float(v: r.errors) / float(v: r.requests),
        }),
    )
    |> filter(fn: (r) => r.error_rate > 0.05)
    |> sort(columns: ["window_start", "service_name"])
