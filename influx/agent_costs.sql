-- What agents do and what it costs: notifications, tools run, calls of language models, tokens.
SELECT agent_id,
       sum(notifications_processed) AS notifications_processed,
       sum(tool_executions) AS tool_executions,
       sum(llm_calls) AS llm_calls,
       sum(input_tokens) AS input_tokens,
       sum(output_tokens) AS output_tokens
FROM agent_metrics
WHERE time >= now() - INTERVAL '1 hour'
GROUP BY agent_id
ORDER BY output_tokens DESC, agent_id
LIMIT 50
