// What agents do and what it costs: notifications, tools run, calls of language models, tokens.
bucket = "rabtrace"
since = -1h

from(bucket: bucket)
    |> range(start: since)
    |> filter(fn: (r) => r._measurement == "agent_metrics")
    |> filter(fn: (r) => r._field =~ /^(notifications_processed|tool_executions|llm_calls|input_tokens|output_tokens)$/)
    |> group(columns: ["agent_id", "_field"])
    |> sum()
    |> group()
    |> pivot(rowKey: ["agent_id"], columnKey: ["_field"], valueColumn: "_value")
    |> sort(columns: ["output_tokens"], desc: true)
    |> limit(n: 50)
