-- Which operations are slow: average above one second, in the last hour.
SELECT service_name, span_name, destination,
       count(*) AS spans, avg(duration_ms) AS avg_ms, max(duration_ms) AS max_ms
FROM spans
WHERE time >= now() - INTERVAL '1 hour'
GROUP BY service_name, span_name, destination
HAVING avg(duration_ms) > 1000
ORDER BY avg_ms DESC
LIMIT 50
