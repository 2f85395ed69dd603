-- How much goes through each queue: published, delivered, acknowledged. A counter that begins anew
-- counts from its first poll on.
WITH steps AS (
  SELECT vhost, queue,
         messages_publish - lag(messages_publish) OVER (PARTITION BY cluster, vhost, queue, type ORDER BY time) AS published,
         messages_deliver_get - lag(messages_deliver_get) OVER (PARTITION BY cluster, vhost, queue, type ORDER BY time) AS delivered,
         messages_ack - lag(messages_ack) OVER (PARTITION BY cluster, vhost, queue, type ORDER BY time) AS acknowledged
  FROM rabbitmq_queue
  WHERE time >= (unixepoch() - 3600) * 1000000000
)
SELECT vhost, queue,
       sum(CASE WHEN published >= 0 THEN published END) AS published,
       sum(CASE WHEN delivered >= 0 THEN delivered END) AS delivered,
       sum(CASE WHEN acknowledged >= 0 THEN acknowledged END) AS acknowledged
FROM steps
GROUP BY vhost, queue
HAVING sum(CASE WHEN published >= 0 THEN published END) IS NOT NULL
ORDER BY published DESC, vhost, queue
LIMIT 50
