-- Which operations are slow, by agent and type of notification: average above one second.
SELECT agent_id,
       coalesce(notification_type, '') AS notification_type,
       sum(notifications_received) AS notifications,
       sum(duration_ms * notifications_received) / sum(notifications_received) AS avg_ms,
       max(duration_max_ms) AS max_ms
FROM agent_metrics
WHERE time >= (unixepoch() - 3600) * 1000000000 AND notifications_received > 0
GROUP BY agent_id, coalesce(notification_type, '')
HAVING sum(duration_ms * notifications_received) / sum(notifications_received) > 1000
ORDER BY avg_ms DESC, agent_id, notification_type
LIMIT 50
