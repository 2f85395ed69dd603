-- Which services fail: share of failed requests in windows of five minutes, where above 5 %.
SELECT to_char(date_bin(INTERVAL '5 minutes', time), '%Y-%m-%dT%H:%M:%SZ') AS window_start,
       service_name,
       sum(requests) AS requests,
       sum(errors) AS errors,
       sum(errors) * 1.0 / sum(requests) AS error_rate
FROM service_metrics
WHERE time >= now() - INTERVAL '1 hour'
GROUP BY 1, 2
HAVING sum(errors) * 1.0 / sum(requests) > 0.05
ORDER BY 1, 2
