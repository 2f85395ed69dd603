-- Which services fail: share of failed requests in windows of five minutes, where above 5 %.
SELECT strftime('%Y-%m-%dT%H:%M:%SZ', time_bucket(300, time) / 1000000000, 'unixepoch') AS window_start,
       service_name,
       sum(requests) AS requests,
       sum(errors) AS errors,
       sum(errors) * 1.0 / sum(requests) AS error_rate
FROM service_metrics
WHERE time >= (unixepoch() - 3600) * 1000000000
GROUP BY 1, 2
HAVING sum(errors) * 1.0 / sum(requests) > 0.05
ORDER BY 1, 2
