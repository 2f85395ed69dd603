// Overview, queues, resources: what the broker says of itself.
import { number, script, series } from '../queries.mjs';
import { AGENT, JAEGER, NO_PATHS, NO_QUEUES, NO_SPANS, choice, sized } from './common.mjs';

const QUEUE = ['vhost', 'queue'];
const EVERY = { measurement: 'rabbitmq_queue', by: [], series: QUEUE };
const CHOSEN = { measurement: 'rabbitmq_queue', by: QUEUE, chosen: { vhost: 'vhost', queue: 'queue' } };

/// The newest sample of each queue; `chosen` narrows it to what the variables say.
const status = (chosen) => {
  const flux = chosen ? ' and r.vhost =~ /^${vhost:regex}$/ and r.queue =~ /^${queue:regex}$/' : '';
  const sql = chosen ? ' AND "vhost" IN (${vhost:sqlstring}) AND "queue" IN (${queue:sqlstring})' : '';
  return script(
    `from(bucket: v.defaultBucket)
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "rabbitmq_queue"${flux})
  |> filter(fn: (r) => r._field == "status" or r._field == "messages" or r._field == "messages_ready" or r._field == "messages_unack" or r._field == "consumers" or r._field == "head_age_s" or r._field == "eta_drain_s")
  |> last()
  |> keep(columns: ["vhost", "queue", "_field", "_value"])
  |> pivot(rowKey: ["vhost", "queue"], columnKey: ["_field"], valueColumn: "_value")
  |> group()`,
    `SELECT "vhost", "queue",
       last_value("status" ORDER BY time) AS status,
       last_value(messages ORDER BY time) AS messages,
       last_value(messages_ready ORDER BY time) AS messages_ready,
       last_value(messages_unack ORDER BY time) AS messages_unack,
       last_value(consumers ORDER BY time) AS consumers,
       last_value(head_age_s ORDER BY time) AS head_age_s
FROM rabbitmq_queue
WHERE $__timeFilter(time)${sql}
GROUP BY 1, 2
ORDER BY messages DESC`,
  );
};
const STATUS_UNITS = { head_age_s: 's', eta_drain_s: 's' };

export const overview = {
  name: 'overview',
  title: 'overview',
  description: 'How the pipeline is: the broker, its queues, the services, the paths.',
  variables: [JAEGER, AGENT],
  panels: [
    ...sized(4, 4, [
      { type: 'stat', title: 'Broker', unit: 'bool_yes_no', description: 'Whether the newest poll of the broker learned anything.', empty: NO_QUEUES, good: 1,
        query: number({ measurement: 'rabbitmq_poll', field: 'up', series: ['source', 'node'], each: 'last', all: 'max' }) },
      { type: 'stat', title: 'Queues', unit: 'short', description: 'Queues that were seen.', empty: NO_QUEUES,
        query: number({ measurement: 'rabbitmq_queue', field: 'messages', series: QUEUE, each: 'last', all: 'count' }) },
      { type: 'stat', title: 'Messages waiting', unit: 'short', description: 'Messages in all queues, ready and unacknowledged.', empty: NO_QUEUES,
        query: number({ measurement: 'rabbitmq_queue', field: 'messages', series: QUEUE, each: 'last', all: 'sum' }) },
      { type: 'stat', title: 'Oldest message', unit: 's', description: 'Age of the oldest message of any queue.', empty: 'no ages yet: they need a few polls', red: 300,
        query: number({ measurement: 'rabbitmq_queue', field: 'head_age_s', series: QUEUE, each: 'last', all: 'max' }) },
      { type: 'stat', title: 'Requests', unit: 'short', description: 'Requests and deliveries that services worked on in the chosen time.', empty: NO_SPANS,
        query: number({ measurement: 'service_metrics', field: 'requests', each: 'sum', all: 'sum' }) },
      { type: 'stat', title: 'Failed', unit: 'short', description: 'Of these, those that failed.', empty: NO_SPANS, red: 1,
        query: number({ measurement: 'service_metrics', field: 'errors', each: 'sum', all: 'sum' }) },
    ]),
    ...sized(12, 8, [
      { type: 'timeseries', title: 'Messages in queues', unit: 'short', description: 'All queues together.', empty: NO_QUEUES,
        query: series({ ...EVERY, field: 'messages', each: 'last', all: 'sum', as: 'messages' }) },
      { type: 'timeseries', title: 'Delivered', unit: 'mps', description: 'Messages that all queues deliver a second.', empty: NO_QUEUES,
        query: series({ ...EVERY, field: 'messages_deliver_get_rate', each: 'mean', all: 'sum', as: 'delivered' }) },
      { type: 'timeseries', title: 'Errors by service', unit: 'short', description: 'Requests and deliveries that failed, in each interval.', empty: NO_SPANS,
        query: { by: ['service_name'], ...series({ measurement: 'service_metrics', field: 'errors', by: ['service_name'], each: 'sum' }) } },
      { type: 'timeseries', title: 'Path latency, p95', unit: 'ms', description: 'From the origin of a path to the delivery at its end; the worst window of each interval.', empty: NO_PATHS,
        query: { by: ['path'], ...series({ measurement: 'message_flow', field: 'duration_p95', by: ['path'], where: { direction: 'in', kind: 'forward' }, each: 'max' }) } },
    ]),
    { w: 24, h: 10, type: 'table', title: 'Queues by status', unit: 'none', description: 'The newest sample of every queue; docs/monitor.md says what each status means.', empty: NO_QUEUES, units: STATUS_UNITS, query: status(false) },
  ],
};

const over = (title, unit, field, each, description, scale) => ({
  type: 'timeseries', title, unit, description, empty: NO_QUEUES,
  query: { by: QUEUE, ...series({ ...CHOSEN, field, each, scale }) },
});

export const queues = {
  name: 'queues',
  title: 'queues',
  description: 'Every queue: depth, rates, the age of its oldest message, consumers.',
  variables: [choice('vhost', 'Virtual host', 'rabbitmq_queue', 'vhost'), choice('queue', 'Queue', 'rabbitmq_queue', 'queue')],
  panels: [
    { w: 24, h: 8, type: 'table', title: 'Status', unit: 'none', description: 'The newest sample of the chosen queues; docs/monitor.md says what each status means.', empty: NO_QUEUES, units: STATUS_UNITS, query: status(true) },
    ...sized(12, 8, [
      over('Depth', 'short', 'messages', 'last', 'Messages in each queue, ready and unacknowledged together.'),
      over('Unacknowledged', 'short', 'messages_unack', 'last', 'Delivered and not settled: what the consumers hold.'),
      over('Published', 'mps', 'messages_publish_rate', 'mean', 'Messages that come in, a second.'),
      over('Delivered', 'mps', 'messages_deliver_get_rate', 'mean', 'Messages that are handed out, a second.'),
      over('Acknowledged', 'mps', 'messages_ack_rate', 'mean', 'Messages that are done, a second.'),
      over('Redelivered', 'mps', 'messages_redeliver_rate', 'mean', 'Messages that are handed out again, a second.'),
      over('Age of the oldest message', 's', 'head_age_s', 'max', 'How long the message at the head has been waiting; docs/monitor.md says how it is known.'),
      { ...over('Time to drain', 's', 'eta_drain_s', 'last', 'Until the queue is empty if it goes on like this; absent where it does not get shorter.'), empty: 'no queue gets shorter' },
      over('Consumers', 'short', 'consumers', 'last', 'Consumers that are registered.'),
    ]),
  ],
};

const node = (title, unit, field, description, more = {}) => ({
  type: 'timeseries', title, unit, description, empty: 'no nodes yet: rabtrace check tells whether the broker can be asked',
  query: { by: ['node'], ...series({ measurement: 'rabbitmq_node', field, by: ['node'], each: 'last' }) }, ...more,
});
const service = (title, unit, field, description, scale) => ({
  type: 'timeseries', title, unit, description,
  empty: 'no service tells it: it comes from the process metrics of OpenTelemetry',
  query: { by: ['service_name'], ...series({ measurement: 'service_metrics', field, by: ['service_name'], each: 'mean', scale }) },
});

export const resources = {
  name: 'resources',
  title: 'resources',
  description: 'Memory, disk, CPU and connections of the broker and of the services; those of the agent are on "rabtrace itself".',
  panels: sized(12, 8, [
    node('Memory of the broker', 'bytes', 'mem_used', 'Memory that each node uses.'),
    node('Memory limit of the broker', 'bytes', 'mem_limit', 'Memory at which a node blocks its publishers.'),
    node('Free disk of the broker', 'bytes', 'disk_free', 'At the limit a node blocks its publishers.'),
    node('File descriptors of the broker', 'short', 'fd_used', 'Open files and sockets of each node.'),
    node('Erlang processes of the broker', 'short', 'proc_used', 'Processes of the Erlang machine: queues, channels, connections.'),
    { type: 'timeseries', title: 'Connections', unit: 'short', description: 'Connections of all clients.', empty: NO_QUEUES,
      query: series({ measurement: 'rabbitmq_overview', field: 'connections', each: 'last', as: 'connections' }) },
    { type: 'timeseries', title: 'Channels', unit: 'short', description: 'Channels of all clients.', empty: NO_QUEUES,
      query: series({ measurement: 'rabbitmq_overview', field: 'channels', each: 'last', as: 'channels' }) },
    service('CPU of the services', 'percent', 'cpu_usage_percent', 'As each service tells by process.cpu.utilization.'),
    service('Memory of the services', 'bytes', 'memory_usage_mb', 'As each service tells by process.memory.usage.', '1000000.0'),
    { ...service('Requests under way', 'short', 'active_connections', 'Requests that each service is working on, as it tells by http.server.active_requests.'), empty: 'no service tells it: it comes from the HTTP metrics of OpenTelemetry' },
  ]),
};
