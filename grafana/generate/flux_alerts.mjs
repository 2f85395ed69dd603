// The alert rules over InfluxDB 2, for a Grafana without Prometheus: by the name of the alert, how
// far back it looks in seconds, and the Flux that leaves a row with its labels for each thing that is
// wrong. What only the agent's /metrics tells (AgentDropping, SpoolFilling) is not among them.
//
// Each value has the unit of the Prometheus rule's, so that the texts of both are the same.

const MINUTE = 60;
const QUEUE = ['vhost', 'queue'];
// Dead-letter queues have no consumers and old messages by design.
const LIVE = 'r.queue !~ /(dead|dlq|dlx|parking)/';

const list = (names) => `[${names.map((name) => `"${name}"`).join(', ')}]`;
const or = (fields) => `(${fields.map((field) => `r._field == "${field}"`).join(' or ')})`;
const from = (measurement, fields, where = '') =>
  `from(bucket: v.defaultBucket)
  |> range(start: v.timeRangeStart)
  |> filter(fn: (r) => r._measurement == "${measurement}" and ${or(fields)}${where && ` and ${where}`})`;

/// One row for each of `by` with a column for each field: what `each` makes of a series, then `all` of
/// several. The type of a field is its own, so fields stay apart until they are columns.
const columns = (by, each, all) => `
  |> ${each}()
  |> group(columns: ${list([...by, '_field'])})
  |> ${all}()
  |> pivot(rowKey: ${list(by)}, columnKey: ["_field"], valueColumn: "_value")`;

/// The rows where `wrong` holds, with the labels (name: expression) and the value.
const told = (wrong, labels, value) => `
  |> filter(fn: (r) => ${wrong})
  |> map(fn: (r) => ({_time: now(), ${Object.entries(labels).map(([name, of]) => `${name}: ${of}`).join(', ')}, _value: ${value}}))
  |> group(columns: ${list(Object.keys(labels))})`;

const OF_QUEUE = { vhost: 'r.vhost', queue: 'r.queue' };
const has = (...fields) => fields.map((field) => `exists r.${field}`).join(' and ');

export const fluxAlerts = {
  QueueGrowing: {
    seconds: 2 * MINUTE,
    flux: from('rabbitmq_queue', ['messages', 'status_code']) + columns(QUEUE, 'last', 'max')
      + told(`${has('messages', 'status_code')} and r.status_code == 3`, OF_QUEUE, 'float(v: r.messages)'),
  },
  QueueWithoutConsumer: {
    seconds: 2 * MINUTE,
    flux: from('rabbitmq_queue', ['messages', 'consumers']) + columns(QUEUE, 'last', 'max')
      + told(`${has('messages', 'consumers')} and r.consumers == 0 and r.messages > 0 and ${LIVE}`, OF_QUEUE, 'float(v: r.messages)'),
  },
  OldestMessageTooOld: {
    seconds: 2 * MINUTE,
    flux: from('rabbitmq_queue', ['head_age_s']) + columns(QUEUE, 'last', 'max')
      + told(`${has('head_age_s')} and r.head_age_s > 300.0 and ${LIVE}`, OF_QUEUE, 'r.head_age_s'),
  },
  DeadLetters: {
    seconds: 6 * MINUTE,
    flux: `import "strings"

${from('rabbitmq_global', ['dead_lettered_expired', 'dead_lettered_rejected', 'dead_lettered_maxlen', 'dead_lettered_delivery_limit'])}
  |> difference(nonNegative: true)
  |> group(columns: ["_field"])
  |> sum()` + told('r._value > 0', { reason: 'strings.trimPrefix(v: r._field, prefix: "dead_lettered_")' }, 'float(v: r._value)'),
  },
  ErrorRateHigh: {
    seconds: 5 * MINUTE,
    flux: from('service_metrics', ['requests', 'errors']) + columns(['service_name'], 'sum', 'sum')
      + told(`${has('requests', 'errors')} and r.requests > 0 and float(v: r.errors) / float(v: r.requests) > 0.05`, { service: 'r.service_name' }, 'float(v: r.errors) / float(v: r.requests)'),
  },
  // A p95 of several windows cannot be had from theirs: the median of them is over the budget.
  PathSlow: {
    seconds: 5 * MINUTE,
    flux: `${from('message_flow', ['duration_p95'], 'r.direction == "in" and r.kind == "forward"')}
  |> group(columns: ["path"])
  |> median()` + told('r._value > 1000.0', { path: 'r.path' }, 'r._value / 1000.0'),
  },
  RedeliveryStorm: {
    seconds: 5 * MINUTE,
    flux: from('rabbitmq_queue', ['messages_redeliver_rate', 'messages_deliver_get_rate']) + columns(QUEUE, 'mean', 'sum')
      + told(`${has('messages_redeliver_rate', 'messages_deliver_get_rate')} and r.messages_redeliver_rate > 1.0 and r.messages_redeliver_rate > 0.5 * r.messages_deliver_get_rate`, OF_QUEUE, 'r.messages_redeliver_rate'),
  },
  ConsumerAtPrefetchLimit: {
    seconds: 5 * MINUTE,
    flux: `polls = ${from('rabbitmq_queue', ['messages_unack', 'messages_ready'])}
  |> group(columns: ["vhost", "queue", "_field"])
least = polls |> min() |> map(fn: (r) => ({r with _field: "least_" + r._field}))
most = polls |> max() |> map(fn: (r) => ({r with _field: "most_" + r._field}))

union(tables: [least, most])
  |> group(columns: ["vhost", "queue", "_field"])
  |> pivot(rowKey: ["vhost", "queue"], columnKey: ["_field"], valueColumn: "_value")`
      + told(`${has('least_messages_unack', 'most_messages_unack', 'least_messages_ready')} and r.least_messages_ready > 0 and r.most_messages_unack > 0 and float(v: r.least_messages_unack) >= 0.9 * float(v: r.most_messages_unack)`, { ...OF_QUEUE, state: '"unacknowledged"' }, 'float(v: r.most_messages_unack)'),
  },
  BrokerAlarm: {
    seconds: 2 * MINUTE,
    flux: `${from('rabbitmq_node', ['mem_alarm', 'disk_free_alarm'])}
  |> last()
  |> group(columns: ["node", "_field"])
  |> max()` + told('r._value == 1', { node: 'r.node', resource: 'if r._field == "mem_alarm" then "memory" else "disk"' }, 'float(v: r._value)'),
  },
  NodeDown: {
    seconds: 60 * MINUTE,
    flux: `asked = ${from('rabbitmq_poll', ['up'], 'exists r.node and r.source == "prometheus"')}
  |> group(columns: ["node"])
answered = asked |> max() |> map(fn: (r) => ({node: r.node, _field: "answered", _value: r._value}))
answers = asked |> sort(columns: ["_time"]) |> last() |> map(fn: (r) => ({node: r.node, _field: "answers", _value: r._value}))
runs = ${from('rabbitmq_node', ['running'])}
  |> group(columns: ["node"])
  |> sort(columns: ["_time"])
  |> last()
  |> map(fn: (r) => ({node: r.node, _field: "runs", _value: r._value}))

union(tables: [answered, answers, runs])
  |> group(columns: ["node", "_field"])
  |> pivot(rowKey: ["node"], columnKey: ["_field"], valueColumn: "_value")`
      + told('(exists r.runs and r.runs == 0) or (exists r.answers and exists r.answered and r.answers == 0 and r.answered == 1)', { node: 'r.node' }, '0.0'),
  },
  BrokerUnreachable: {
    seconds: 2 * MINUTE,
    flux: `learned = ${from('rabbitmq_poll', ['up'], 'not exists r.node')}
  |> group()
  |> sort(columns: ["_time"])
  |> last()
  |> map(fn: (r) => ({broker: "it", _field: "learned", _value: r._value}))
refused = ${from('rabbitmq_poll', ['login_refused'])}
  |> group(columns: ["node", "source"])
  |> sort(columns: ["_time"])
  |> last()
  |> group()
  |> max()
  |> map(fn: (r) => ({broker: "it", _field: "refused", _value: r._value}))

union(tables: [learned, refused])
  |> group(columns: ["broker", "_field"])
  |> pivot(rowKey: ["broker"], columnKey: ["_field"], valueColumn: "_value")
  |> filter(fn: (r) => exists r.learned and r.learned == 0 and not (exists r.refused and r.refused == 1))
  |> group()
  |> map(fn: (r) => ({_time: now(), _value: float(v: r.learned)}))`,
  },
  BrokerLoginRefused: {
    seconds: 2 * MINUTE,
    flux: `${from('rabbitmq_poll', ['login_refused'])}
  |> group(columns: ["node", "source"])
  |> sort(columns: ["_time"])
  |> last()` + told('r._value == 1', { node: 'r.node', source: 'r.source' }, 'float(v: r._value)'),
  },
  // The agent tells each poll, whether the broker answers or not: silence is what fires.
  AgentDown: {
    seconds: 2 * MINUTE,
    fires: '$B < 1',
    noData: 'Alerting',
    flux: `${from('rabbitmq_poll', ['up'])}
  |> group()
  |> count()
  |> map(fn: (r) => ({_time: now(), _value: float(v: r._value)}))`,
  },
  SuccessRateLow: {
    seconds: 10 * MINUTE,
    flux: from('agent_metrics', ['notifications_processed', 'notifications_received']) + columns(['agent_id'], 'sum', 'sum')
      + told(`${has('notifications_processed', 'notifications_received')} and r.notifications_received > 0 and float(v: r.notifications_processed) / float(v: r.notifications_received) < 0.8`, { agent: 'r.agent_id' }, 'float(v: r.notifications_processed) / float(v: r.notifications_received)'),
  },
  MemoryHigh: {
    seconds: 2 * MINUTE,
    flux: from('service_metrics', ['memory_usage_mb']) + columns(['service_name'], 'last', 'max')
      + told(`${has('memory_usage_mb')} and r.memory_usage_mb > 1000.0`, { service: 'r.service_name' }, 'r.memory_usage_mb * 1000000.0'),
  },
  PathVanished: {
    seconds: 90 * MINUTE,
    flux: `import "date"

since = date.sub(d: 30m, from: now())
messages = ${from('message_flow', ['count'], 'r.direction == "in"')}
newest = messages
  |> filter(fn: (r) => r._time >= since)
  |> group()
  |> sum()
  |> findColumn(fn: (key) => true, column: "_value")

messages
  |> group(columns: ["path"])
  |> reduce(
    identity: {before: 0, after: 0},
    fn: (r, accumulator) => ({
      before: accumulator.before + (if r._time < since then r._value else 0),
      after: accumulator.after + (if r._time < since then 0 else r._value),
    }),
  )` + told('r.before > 20 and r.after == 0 and length(arr: newest) > 0', { path: 'r.path' }, 'float(v: r.before)'),
  },
};
