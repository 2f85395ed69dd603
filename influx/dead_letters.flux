// Why messages were dead-lettered, and how many. A counter that begins anew counts from its first
// poll on.
import "strings"

bucket = "rabtrace"
since = -1h

from(bucket: bucket)
    |> range(start: since)
    |> filter(fn: (r) => r._measurement == "rabbitmq_global")
    |> filter(fn: (r) => r._field =~ /^dead_lettered_(expired|rejected|maxlen|delivery_limit)$/)
    |> difference(nonNegative: true)
    |> group(columns: ["_field"])
    |> sum()
    |> filter(fn: (r) => r._value > 0)
    |> map(fn: (r) => ({reason: strings.trimPrefix(v: r._field, prefix: "dead_lettered_"), dead_lettered: r._value}))
    |> group()
    |> sort(columns: ["dead_lettered"], desc: true)
