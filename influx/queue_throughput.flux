// How much goes through each queue: published, delivered, acknowledged. A counter that begins anew
// counts from its first poll on.
bucket = "rabtrace"
since = -1h

from(bucket: bucket)
    |> range(start: since)
    |> filter(fn: (r) => r._measurement == "rabbitmq_queue")
    |> filter(fn: (r) => r._field == "messages_publish" or r._field == "messages_deliver_get" or r._field == "messages_ack")
    |> difference(nonNegative: true)
    |> group(columns: ["vhost", "queue", "_field"])
    |> sum()
    |> group()
    |> pivot(rowKey: ["vhost", "queue"], columnKey: ["_field"], valueColumn: "_value")
    |> rename(columns: {messages_publish: "published", messages_deliver_get: "delivered", messages_ack: "acknowledged"})
    |> sort(columns: ["published"], desc: true)
    |> limit(n: 50)
