-- Which paths do messages take: messages, errors, average and the worst window's p95, last hour.
SELECT path,
       sum(count) AS messages,
       sum(errors) AS errors,
       sum(duration_sum) / sum(count) AS avg_ms,
       max(duration_p95) AS worst_p95_ms
FROM message_flow
WHERE time >= now() - INTERVAL '1 hour' AND direction = 'in'
GROUP BY path
ORDER BY messages DESC
LIMIT 50
