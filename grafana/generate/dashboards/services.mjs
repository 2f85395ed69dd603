// Services, the platform's agents, and what fails.
import { script, series, source } from '../queries.mjs';
import { AGENT, JAEGER, NO_QUEUES, NO_SPANS, choice, sized } from './common.mjs';

const NO_AGENTS = 'no agents yet: spans with the attributes agent.id and notification.type make them';
const SERVICE = { measurement: 'service_metrics', by: ['service_name'], chosen: { service_name: 'service' } };
const AGENTS = { measurement: 'agent_metrics', by: ['agent_id'], each: 'sum' };

const quantile = (share) => ({
  by: ['service_name'],
  ...script(
    `from(bucket: v.defaultBucket)
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "spans" and r._field == "duration_ms" and (r.kind == "consumer" or r.kind == "server") and r.service_name =~ /^\${service:regex}$/)
  |> group(columns: ["service_name", "_field"])
  |> aggregateWindow(every: v.windowPeriod, fn: (tables=<-, column) => tables |> quantile(q: ${share}, column: column, method: "estimate_tdigest"), createEmpty: false)`,
    `SELECT $__dateBin(time) AS time, service_name, approx_percentile_cont(${share}) WITHIN GROUP (ORDER BY duration_ms) AS value
FROM spans
WHERE $__timeFilter(time) AND kind IN ('consumer', 'server') AND service_name IN (\${service:sqlstring})
GROUP BY 1, 2
ORDER BY 1`,
  ),
  format: 'time_series',
});

/// Share of two fields of one measurement, summed in each interval.
const share = ({ measurement, tag, part, whole, chosen }) => ({
  by: [tag],
  ...script(
    `${source({ measurement, fields: [part, whole], chosen }).join('\n  |> ')}
  |> group(columns: ["${tag}", "_field"])
  |> aggregateWindow(every: v.windowPeriod, fn: sum, createEmpty: false)
  |> pivot(rowKey: ["_time", "${tag}"], columnKey: ["_field"], valueColumn: "_value")
  |> filter(fn: (r) => r.${whole} > 0)
  |> map(fn: (r) => ({_time: r._time, ${tag}: r.${tag}, _value: 100.0 * float(v: r.${part}) / float(v: r.${whole})}))
  |> group(columns: ["${tag}"])`,
    `SELECT $__dateBin(time) AS time, "${tag}", sum("${part}") * 100.0 / sum("${whole}") AS value
FROM ${measurement}
WHERE $__timeFilter(time)${Object.entries(chosen ?? {}).map(([name, variable]) => ` AND "${name}" IN (\${${variable}:sqlstring})`).join('')}
GROUP BY 1, 2
HAVING sum("${whole}") > 0
ORDER BY 1`,
  ),
  format: 'time_series',
});

const cost = {
  by: ['agent_id'],
  ...script(
    `${source({ measurement: 'agent_metrics', fields: ['input_tokens', 'output_tokens'] }).join('\n  |> ')}
  |> map(fn: (r) => ({r with _value: float(v: r._value) * (if r._field == "input_tokens" then float(v: "\${input_price}") else float(v: "\${output_price}")) / 1000000.0}))
  |> group(columns: ["agent_id"])
  |> aggregateWindow(every: v.windowPeriod, fn: sum, createEmpty: false)`,
    `SELECT $__dateBin(time) AS time, agent_id,
       (sum(input_tokens) * \${input_price} + sum(output_tokens) * \${output_price}) / 1000000.0 AS value
FROM agent_metrics
WHERE $__timeFilter(time)
GROUP BY 1, 2
ORDER BY 1`,
  ),
  format: 'time_series',
};

const tokens = {
  by: ['agent_id'],
  ...script(
    `${source({ measurement: 'agent_metrics', fields: ['input_tokens', 'output_tokens'] }).join('\n  |> ')}
  |> group(columns: ["agent_id", "_field"])
  |> aggregateWindow(every: v.windowPeriod, fn: sum, createEmpty: false)`,
    `SELECT $__dateBin(time) AS time, agent_id, sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens
FROM agent_metrics
WHERE $__timeFilter(time)
GROUP BY 1, 2
ORDER BY 1`,
  ),
  format: 'time_series',
};

const latency = (share, name) => ({ type: 'timeseries', title: `Latency, ${name}`, unit: 'ms', description: `${name} of the sampled requests and deliveries of each service.`, empty: NO_SPANS, query: quantile(share) });

const operations = script(
  `from(bucket: v.defaultBucket)
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "spans" and r._field == "duration_ms" and r.service_name =~ /^\${service:regex}$/)
  |> group(columns: ["service_name", "span_name"])
  |> reduce(identity: {count: 0, sum: 0.0, max: 0.0}, fn: (r, accumulator) => ({count: accumulator.count + 1, sum: accumulator.sum + r._value, max: if r._value > accumulator.max then r._value else accumulator.max}))
  |> map(fn: (r) => ({service_name: r.service_name, span_name: r.span_name, spans: r.count, avg_ms: r.sum / float(v: r.count), max_ms: r.max}))
  |> group()
  |> sort(columns: ["avg_ms"], desc: true)
  |> limit(n: 50)`,
  `SELECT service_name, span_name, count(*) AS spans, avg(duration_ms) AS avg_ms, max(duration_ms) AS max_ms
FROM spans
WHERE $__timeFilter(time) AND service_name IN (\${service:sqlstring})
GROUP BY 1, 2
ORDER BY avg_ms DESC
LIMIT 50`,
);

export const services = {
  name: 'services',
  title: 'services and agents',
  description: 'What each service and each agent of the platform does, how fast, how well, at what cost.',
  variables: [
    choice('service', 'Service', 'service_metrics', 'service_name'),
    { name: 'input_price', label: '$ per million input tokens', text: '3.0' },
    { name: 'output_price', label: '$ per million output tokens', text: '15.0' },
  ],
  panels: [
    ...sized(8, 8, [latency(0.5, 'p50'), latency(0.95, 'p95'), latency(0.99, 'p99')]),
    ...sized(12, 8, [
      { type: 'timeseries', title: 'Requests', unit: 'short', description: 'Requests and deliveries of each service, in each interval.', empty: NO_SPANS,
        query: { by: ['service_name'], ...series({ ...SERVICE, field: 'requests', each: 'sum' }) } },
      { type: 'timeseries', title: 'Success of agents', unit: 'percent', max: 100, description: 'Notifications that did not fail, of those that were taken.', empty: NO_AGENTS,
        query: share({ measurement: 'agent_metrics', tag: 'agent_id', part: 'notifications_processed', whole: 'notifications_received' }) },
      { type: 'timeseries', title: 'Time per notification, mean', unit: 'ms', description: 'Mean time that an agent works on a notification.', empty: NO_AGENTS,
        query: { by: ['agent_id'], ...series({ ...AGENTS, field: 'duration_ms', each: 'mean' }) } },
      ...[['duration_p50_ms', 'p50'], ['duration_p95_ms', 'p95'], ['duration_p99_ms', 'p99']].map(([field, name]) => (
        { type: 'timeseries', title: `Time per notification, ${name}`, unit: 'ms', description: `${name} of the time that an agent works on a notification; the worst window of each interval.`, empty: NO_AGENTS,
          query: { by: ['agent_id'], ...series({ ...AGENTS, field, each: 'max' }) } })),
      { type: 'timeseries', title: 'Tools', unit: 'short', description: 'Tools that each agent executed, in each interval.', empty: NO_AGENTS,
        query: { by: ['agent_id'], ...series({ ...AGENTS, field: 'tool_executions' }) } },
      { type: 'timeseries', title: 'Calls of the language model', unit: 'short', description: 'Calls of each agent, in each interval.', empty: NO_AGENTS,
        query: { by: ['agent_id'], ...series({ ...AGENTS, field: 'llm_calls' }) } },
      { type: 'timeseries', title: 'Tokens', unit: 'short', description: 'Tokens in and out, by gen_ai.usage.input_tokens and output_tokens.', empty: NO_AGENTS, query: { ...tokens, by: undefined } },
      { type: 'timeseries', title: 'Cost', unit: 'currencyUSD', description: 'Tokens times the prices above; in each interval.', empty: NO_AGENTS, query: cost },
      { type: 'timeseries', title: 'Duration of tasks', unit: 's', description: 'Mean time of the steps that ended a task.', empty: 'no tasks yet: spans with task.id and task.status make them',
        query: { by: ['creator_id'], ...series({ measurement: 'task_metrics', field: 'duration_seconds', by: ['creator_id'], each: 'mean' }) } },
      { type: 'timeseries', title: 'HTTP requests', unit: 'ms', description: 'Mean time of each endpoint.', empty: 'no HTTP requests yet',
        query: { by: ['endpoint'], ...series({ measurement: 'request_metrics', field: 'duration_ms', by: ['endpoint'], each: 'mean' }) } },
    ]),
    { w: 24, h: 10, type: 'table', title: 'Slow operations', unit: 'none', description: 'Mean and longest time of each operation, of those that were sampled.', empty: NO_SPANS, units: { avg_ms: 'ms', max_ms: 'ms' }, query: operations },
  ],
};

const failed = script(
  `from(bucket: v.defaultBucket)
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "spans" and r.status == "error")
  |> filter(fn: (r) => r._field == "trace_id" or r._field == "duration_ms" or r._field == "path")
  |> pivot(rowKey: ["_time", "service_name", "span_name", "kind"], columnKey: ["_field"], valueColumn: "_value")
  |> group()
  |> sort(columns: ["_time"], desc: true)
  |> limit(n: 50)
  |> keep(columns: ["_time", "trace_id", "service_name", "span_name", "kind", "duration_ms", "path"])`,
  `SELECT time, trace_id, service_name, span_name, kind, duration_ms, path
FROM spans
WHERE $__timeFilter(time) AND status = 'error'
ORDER BY time DESC
LIMIT 50`,
);

const byOperation = script(
  `from(bucket: v.defaultBucket)
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "spans" and r._field == "duration_ms" and r.status == "error")
  |> group(columns: ["service_name", "span_name", "kind"])
  |> count()
  |> group()
  |> rename(columns: {_value: "errors"})
  |> sort(columns: ["errors"], desc: true)`,
  `SELECT service_name, span_name, kind, count(*) AS errors
FROM spans
WHERE $__timeFilter(time) AND status = 'error'
GROUP BY 1, 2, 3
ORDER BY errors DESC`,
);

const byType = script(
  `from(bucket: v.defaultBucket)
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "spans" and r._field == "error_type" and r.status == "error")
  |> group(columns: ["service_name", "_value"])
  |> count(column: "_field")
  |> group()
  |> rename(columns: {_value: "error_type", _field: "errors"})
  |> sort(columns: ["errors"], desc: true)`,
  `SELECT service_name, error_type, count(*) AS errors
FROM spans
WHERE $__timeFilter(time) AND status = 'error' AND error_type IS NOT NULL
GROUP BY 1, 2
ORDER BY errors DESC`,
);

// A failure is a run of windows with errors; it is over with the first window without.
const recovery = script(
  `from(bucket: v.defaultBucket)
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "service_metrics" and r._field == "errors")
  |> group(columns: ["service_name"])
  |> sort(columns: ["_time"])
  |> stateDuration(fn: (r) => r._value > 0, column: "failing_s", unit: 1s)
  |> max(column: "failing_s")
  |> group()
  |> map(fn: (r) => ({service_name: r.service_name, failing_s: float(v: r.failing_s)}))`,
  `WITH windows AS (
  SELECT service_name, time, errors > 0 AS failing,
         row_number() OVER (PARTITION BY service_name ORDER BY time)
           - row_number() OVER (PARTITION BY service_name, errors > 0 ORDER BY time) AS run
  FROM service_metrics
  WHERE $__timeFilter(time)
), failures AS (
  SELECT service_name, run, date_part('epoch', max(time)) - date_part('epoch', min(time)) AS failing_s
  FROM windows
  WHERE failing
  GROUP BY service_name, run
)
SELECT service_name, max(failing_s) AS failing_s
FROM failures
GROUP BY service_name
ORDER BY failing_s DESC`,
);

const deadLetters = (field, reason) => ({
  type: 'timeseries', title: `Dead letters: ${reason}`, unit: 'short', description: `What the broker counted of messages that queues gave up (${reason}), since it started; told once a minute.`, empty: NO_QUEUES,
  query: { by: ['dead_letter_strategy'], ...series({ measurement: 'rabbitmq_global', field, by: ['dead_letter_strategy'], series: ['node', 'queue_type', 'dead_letter_strategy'], each: 'max', all: 'sum' }) },
});

export const errors = {
  name: 'errors',
  title: 'errors',
  description: 'What fails, where, how often, and for how long.',
  variables: [JAEGER, AGENT],
  panels: [
    ...sized(12, 8, [
      { type: 'timeseries', title: 'Error rate', unit: 'percent', max: 100, description: 'Requests and deliveries that failed, of all of the service.', empty: NO_SPANS,
        query: share({ measurement: 'service_metrics', tag: 'service_name', part: 'errors', whole: 'requests' }) },
      { type: 'table', title: 'Longest failure', unit: 'none', description: 'The longest time that a service had errors in every window, until it recovered.', empty: NO_SPANS, units: { failing_s: 's' }, query: recovery },
      { type: 'timeseries', title: 'Errors per path', unit: 'short', description: 'Deliveries whose processing failed, in each interval.', empty: 'no errors',
        query: { by: ['path'], ...series({ measurement: 'message_flow', field: 'errors', by: ['path'], where: { direction: 'in' }, each: 'sum' }) } },
      { type: 'timeseries', title: 'Redelivered per path', unit: 'short', description: 'Messages that were delivered again, in each interval.', empty: 'none was delivered again',
        query: { by: ['path'], ...series({ measurement: 'message_flow', field: 'redelivered', by: ['path'], where: { direction: 'in' }, each: 'sum' }) } },
      deadLetters('dead_lettered_rejected', 'rejected'),
      deadLetters('dead_lettered_delivery_limit', 'delivery limit'),
      deadLetters('dead_lettered_expired', 'expired'),
      deadLetters('dead_lettered_maxlen', 'full queue'),
    ]),
    ...sized(12, 8, [
      { type: 'table', title: 'Errors by operation', unit: 'none', description: 'Spans with the status error.', empty: 'no errors', query: byOperation },
      { type: 'table', title: 'Errors by type', unit: 'none', description: 'Of these, those that say what failed, by error.type.', empty: 'no errors with a type', query: byType },
    ]),
    { w: 24, h: 10, type: 'table', title: 'Newest errors', unit: 'none', description: 'With their traces.', empty: 'no errors', units: { duration_ms: 'ms' }, query: failed },
  ],
};
