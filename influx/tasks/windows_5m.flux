// Sums the windows of 10 s to 5 minutes, which are kept for a year: counts and sums are added, of
// quantiles and maxima the worst stays, of depths and ages the last.
option task = {name: "rabtrace windows of 5 minutes", every: 5m, offset: 1m}

windows = from(bucket: "rabtrace") |> range(start: -task.every)

counts = /^(count|errors|redelivered|skewed|.*_sum|requests|messages_(published|consumed|failed)|notifications_.*|tool_executions|llm_calls|.*_tokens)$/
worst = /^(.*_(p50|p95|p99|max)(_ms)?|head_age_s|status_code)$/
newest = /^(messages|messages_ready|messages_unack|consumers|queue_depth|messages_(publish|deliver_get|ack|redeliver))$/

flow = (r) => r._measurement == "message_flow" or r._measurement == "service_metrics" or r._measurement == "queue_metrics" or r._measurement == "agent_metrics"
queue = (r) => r._measurement == "rabbitmq_queue"

windows
    |> filter(fn: flow)
    |> filter(fn: (r) => r._field =~ counts)
    |> aggregateWindow(every: task.every, fn: sum, createEmpty: false)
    |> to(bucket: "rabtrace_5m")

windows
    |> filter(fn: (r) => flow(r: r) or queue(r: r))
    |> filter(fn: (r) => r._field =~ worst)
    |> aggregateWindow(every: task.every, fn: max, createEmpty: false)
    |> to(bucket: "rabtrace_5m")

windows
    |> filter(fn: queue)
    |> filter(fn: (r) => r._field =~ newest)
    |> aggregateWindow(every: task.every, fn: last, createEmpty: false)
    |> to(bucket: "rabtrace_5m")
