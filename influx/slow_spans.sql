-- Which spans are slow, by service, name and destination: average above one second.
SELECT service_name, span_name,
       coalesce(destination, '') AS destination,
       count(*) AS spans,
       avg(duration_ms) AS avg_ms,
       max(duration_ms) AS max_ms
FROM spans
WHERE time >= now() - INTERVAL '1 hour'
GROUP BY service_name, span_name, coalesce(destination, '')
HAVING avg(duration_ms) > 1000
ORDER BY avg_ms DESC, service_name, span_name, destination
LIMIT 50
