-- Why messages were dead-lettered, and how many. A counter that begins anew counts from its first
-- poll on.
WITH steps AS (
  SELECT dead_lettered_expired - lag(dead_lettered_expired) OVER (PARTITION BY cluster, node, protocol, queue_type, dead_letter_strategy ORDER BY time) AS expired,
         dead_lettered_rejected - lag(dead_lettered_rejected) OVER (PARTITION BY cluster, node, protocol, queue_type, dead_letter_strategy ORDER BY time) AS rejected,
         dead_lettered_maxlen - lag(dead_lettered_maxlen) OVER (PARTITION BY cluster, node, protocol, queue_type, dead_letter_strategy ORDER BY time) AS maxlen,
         dead_lettered_delivery_limit - lag(dead_lettered_delivery_limit) OVER (PARTITION BY cluster, node, protocol, queue_type, dead_letter_strategy ORDER BY time) AS delivery_limit
  FROM rabbitmq_global
  WHERE time >= (unixepoch() - 3600) * 1000000000
), sums AS (
  SELECT 'expired' AS reason, sum(CASE WHEN expired > 0 THEN expired END) AS dead_lettered FROM steps
  UNION ALL
  SELECT 'rejected' AS reason, sum(CASE WHEN rejected > 0 THEN rejected END) AS dead_lettered FROM steps
  UNION ALL
  SELECT 'maxlen' AS reason, sum(CASE WHEN maxlen > 0 THEN maxlen END) AS dead_lettered FROM steps
  UNION ALL
  SELECT 'delivery_limit' AS reason, sum(CASE WHEN delivery_limit > 0 THEN delivery_limit END) AS dead_lettered FROM steps
)
SELECT reason, dead_lettered
FROM sums
WHERE dead_lettered > 0
ORDER BY dead_lettered DESC, reason
