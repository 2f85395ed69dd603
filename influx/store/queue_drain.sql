-- How long until queues are empty, if they shrink on as between the first depth and the last.
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
SELECT vhost, queue, messages, (first - messages) * 1e9 / nanos AS drained_per_second,
       messages * (nanos / 1e9) / (first - messages) AS drain_seconds
FROM ends
WHERE nanos > 0 AND messages < first AND messages > 0
ORDER BY drain_seconds DESC, vhost, queue
LIMIT 50
