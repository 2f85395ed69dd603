-- Which queues grow: messages per second, from first to last depth of the last ten minutes.
WITH depths AS (
  SELECT vhost, queue, time, messages,
         row_number() OVER (PARTITION BY vhost, queue ORDER BY time) AS from_first,
         row_number() OVER (PARTITION BY vhost, queue ORDER BY time DESC) AS from_last
  FROM rabbitmq_queue
  WHERE time >= now() - INTERVAL '10 minutes' AND messages IS NOT NULL
)
SELECT vhost, queue,
       max(CASE WHEN from_last = 1 THEN messages END) AS messages,
       (max(CASE WHEN from_last = 1 THEN messages END) - max(CASE WHEN from_first = 1 THEN messages END)) / 600.0
         AS growth_per_second
FROM depths
GROUP BY vhost, queue
HAVING max(CASE WHEN from_last = 1 THEN messages END) > max(CASE WHEN from_first = 1 THEN messages END)
ORDER BY growth_per_second DESC
LIMIT 50
