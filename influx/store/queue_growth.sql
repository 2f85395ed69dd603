-- Which queues grow: messages per second between the first depth and the last.
WITH depths AS (
  SELECT vhost, queue, messages, time AS nanos,
         row_number() OVER (PARTITION BY vhost, queue ORDER BY time) AS from_first,
         row_number() OVER (PARTITION BY vhost, queue ORDER BY time DESC) AS from_last
  FROM rabbitmq_queue
  WHERE time >= (unixepoch() - 3600) * 1000000000 AND messages IS NOT NULL
), ends AS (
  SELECT vhost, queue,
         max(CASE WHEN from_first = 1 THEN messages END) AS first,
         max(CASE WHEN from_last = 1 THEN messages END) AS messages,
         max(nanos) - min(nanos) AS nanos
  FROM depths
  GROUP BY vhost, queue
)
SELECT vhost, queue, messages, (messages - first) * 1e9 / nanos AS growth_per_second
FROM ends
WHERE nanos > 0 AND messages > first
ORDER BY growth_per_second DESC, vhost, queue
LIMIT 50
