-- Which paths do messages take: messages, errors, redeliveries, and of those that came the first
-- time the average and the worst window's p95.
SELECT path,
       sum(count) AS messages,
       sum(errors) AS errors,
       sum(redelivered) AS redelivered,
       sum(CASE WHEN kind IN ('forward', 'reply') THEN duration_sum END)
         / sum(CASE WHEN kind IN ('forward', 'reply') THEN count END) AS avg_ms,
       max(CASE WHEN kind IN ('forward', 'reply') THEN duration_p95 END) AS worst_p95_ms
FROM message_flow
WHERE time >= now() - INTERVAL '1 hour' AND direction = 'in'
GROUP BY path
ORDER BY messages DESC, path
LIMIT 50
