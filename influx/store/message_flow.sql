-- Which paths do messages take: messages, errors, redeliveries, and of those that came the first
-- time the average and the worst window's p95. A window can have several rows, so its p95 is that
-- of their histograms together.
WITH windows AS (
  SELECT path, kind IN ('forward', 'reply') AS first,
         sum(count) AS count, sum(errors) AS errors, sum(redelivered) AS redelivered,
         sum(duration_sum) AS duration_sum, histogram_quantile(histogram, 0.95) AS duration_p95
  FROM message_flow
  WHERE time >= (unixepoch() - 3600) * 1000000000 AND direction = 'in' AND count > 0
  GROUP BY path, kind, service, destination, time
)
SELECT path,
       sum(count) AS messages,
       sum(errors) AS errors,
       sum(redelivered) AS redelivered,
       sum(CASE WHEN first THEN duration_sum END) / sum(CASE WHEN first THEN count END) AS avg_ms,
       max(CASE WHEN first THEN duration_p95 END) AS worst_p95_ms
FROM windows
GROUP BY path
ORDER BY messages DESC, path
LIMIT 50
