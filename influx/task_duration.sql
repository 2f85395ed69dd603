-- How long the steps of tasks take, by creator and status.
SELECT coalesce(creator_id, '') AS creator_id, status,
       count(*) AS steps,
       avg(duration_seconds) AS avg_seconds,
       max(duration_seconds) AS max_seconds
FROM task_metrics
WHERE time >= now() - INTERVAL '1 hour'
GROUP BY coalesce(creator_id, ''), status
ORDER BY creator_id, status
LIMIT 50
