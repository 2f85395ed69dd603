-- Which queues had messages ready and no consumer, and for how many of the polls.
SELECT vhost, queue,
       count(*) AS polls,
       sum(CASE WHEN messages_ready > 0 AND consumers = 0 THEN 1 ELSE 0 END) AS starved_polls,
       max(messages_ready) AS max_ready
FROM rabbitmq_queue
WHERE time >= (unixepoch() - 3600) * 1000000000 AND messages_ready IS NOT NULL AND consumers IS NOT NULL
GROUP BY vhost, queue
HAVING sum(CASE WHEN messages_ready > 0 AND consumers = 0 THEN 1 ELSE 0 END) > 0
ORDER BY starved_polls DESC, vhost, queue
LIMIT 50
