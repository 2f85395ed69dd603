// Message flows: paths, hops, the graph.
import { script, series } from '../queries.mjs';
import { AGENT, JAEGER, NO_PATHS, NO_SPANS, choice, sized } from './common.mjs';

const ARRIVED = { measurement: 'message_flow', by: ['path'], chosen: { path: 'path' } };
const FIRST = { ...ARRIVED, where: { direction: 'in', kind: 'forward' } };

const paths = script(
  `from(bucket: v.defaultBucket)
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "message_flow" and r.direction == "in" and r.path =~ /^\${path:regex}$/)
  |> filter(fn: (r) => r._field == "count" or r._field == "errors" or r._field == "redelivered" or (r._field == "duration_p95" and (r.kind == "forward" or r.kind == "reply")))
  |> map(fn: (r) => ({path: r.path, _field: r._field, _value: float(v: r._value)}))
  |> group(columns: ["path", "_field"])
  |> reduce(identity: {sum: 0.0, max: 0.0}, fn: (r, accumulator) => ({sum: accumulator.sum + r._value, max: if r._value > accumulator.max then r._value else accumulator.max}))
  |> map(fn: (r) => ({path: r.path, _field: r._field, _value: if r._field == "duration_p95" then r.max else r.sum}))
  |> group()
  |> pivot(rowKey: ["path"], columnKey: ["_field"], valueColumn: "_value")
  |> sort(columns: ["count"], desc: true)`,
  `SELECT path, sum("count") AS "count", sum(errors) AS errors, sum(redelivered) AS redelivered,
       sum(CASE WHEN kind IN ('forward', 'reply') THEN duration_sum END) / sum(CASE WHEN kind IN ('forward', 'reply') THEN "count" END) AS duration_mean,
       max(CASE WHEN kind IN ('forward', 'reply') THEN duration_p95 END) AS duration_p95
FROM message_flow
WHERE $__timeFilter(time) AND direction = 'in' AND "path" IN (\${path:sqlstring})
GROUP BY path
ORDER BY "count" DESC`,
);

// An edge is a publish (service to destination), a delivery (queue to service), or what an exchange
// routed (exchange to queue): there the step before the queue is a destination itself.
const EDGES_FLUX = `import "strings"

flow = from(bucket: v.defaultBucket)
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "message_flow" and r._field == "count" and r.path =~ /^\${path:regex}$/)
outs = flow
  |> filter(fn: (r) => r.direction == "out")
  |> group()
  |> distinct(column: "destination")
  |> findColumn(fn: (key) => true, column: "_value")
before = (path) => {
  parts = strings.split(v: path, t: " > ")
  return if length(arr: parts) > 2 then parts[length(arr: parts) - 3] else ""
}
own = flow
  |> map(fn: (r) => ({
    source: if r.direction == "out" then "service: " + r.service else "queue: " + r.destination,
    target: if r.direction == "out" then "queue: " + r.destination else "service: " + r.service,
    _value: r._value,
  }))
routed = flow
  |> filter(fn: (r) => r.direction == "in" and contains(value: before(path: r.path), set: outs) and before(path: r.path) != r.destination)
  |> map(fn: (r) => ({source: "queue: " + before(path: r.path), target: "queue: " + r.destination, _value: r._value}))
edges = union(tables: [own, routed])
  |> group(columns: ["source", "target"])
  |> sum()
  |> group()`;
const EDGES_SQL = `WITH flow AS (
  SELECT service, destination, direction, "count", array_element(string_to_array(path, ' > '), -3) AS step_before
  FROM message_flow
  WHERE $__timeFilter(time) AND "path" IN (\${path:sqlstring})
), steps AS (
  SELECT concat('service: ', service) AS source, concat('queue: ', destination) AS target, "count" FROM flow WHERE direction = 'out'
  UNION ALL
  SELECT concat('queue: ', destination), concat('service: ', service), "count" FROM flow WHERE direction = 'in'
  UNION ALL
  SELECT concat('queue: ', step_before), concat('queue: ', destination), "count" FROM flow
  WHERE direction = 'in' AND step_before <> destination
    AND step_before IN (SELECT destination FROM message_flow WHERE $__timeFilter(time) AND direction = 'out')
), edges AS (
  SELECT source, target, sum("count") AS mainstat FROM steps GROUP BY source, target
)`;
const graph = {
  nodes: script(
    `${EDGES_FLUX}
union(tables: [
  edges |> map(fn: (r) => ({id: r.source, title: r.source, mainstat: r._value})),
  edges |> map(fn: (r) => ({id: r.target, title: r.target, mainstat: r._value})),
])
  |> group(columns: ["id", "title"])
  |> max(column: "mainstat")
  |> group()
  |> keep(columns: ["id", "title", "mainstat"])`,
    `${EDGES_SQL}
SELECT id, id AS title, max(mainstat) AS mainstat
FROM (SELECT source AS id, mainstat FROM edges UNION ALL SELECT target, mainstat FROM edges)
GROUP BY id
ORDER BY id`,
  ),
  edges: script(
    `${EDGES_FLUX}
edges
  |> map(fn: (r) => ({id: r.source + " > " + r.target, source: r.source, target: r.target, mainstat: r._value}))`,
    `${EDGES_SQL}
SELECT concat(source, ' > ', target) AS id, source, target, mainstat FROM edges ORDER BY id`,
  ),
};

const hop = (field, each) => ({ by: ['service', 'destination'], ...series({ measurement: 'message_flow', field, by: ['service', 'destination'], where: { direction: 'in', kind: 'forward' }, chosen: { path: 'path' }, each }) });

const slowest = script(
  `from(bucket: v.defaultBucket)
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "spans" and r.kind == "consumer")
  |> filter(fn: (r) => r._field == "trace_id" or r._field == "duration_ms" or r._field == "queue_ms" or r._field == "path")
  |> pivot(rowKey: ["_time", "service_name", "span_name", "status", "destination"], columnKey: ["_field"], valueColumn: "_value")
  |> group()
  |> sort(columns: ["duration_ms"], desc: true)
  |> limit(n: 20)
  |> keep(columns: ["_time", "trace_id", "service_name", "span_name", "status", "duration_ms", "queue_ms", "path"])`,
  `SELECT time, trace_id, service_name, span_name, status, duration_ms, queue_ms, path
FROM spans
WHERE $__timeFilter(time) AND kind = 'consumer'
ORDER BY duration_ms DESC
LIMIT 20`,
);

export const flows = {
  name: 'flows',
  title: 'message flows',
  description: 'Which ways messages take, how long each hop takes, and where they are kept waiting.',
  variables: [choice('path', 'Path', 'message_flow', 'path'), JAEGER, AGENT],
  panels: [
    { w: 24, h: 10, type: 'table', title: 'Paths', unit: 'short', description: 'Messages, errors, redeliveries, and the worst window\'s p95 of those that came the first time. rabtrace paths merges the windows themselves.', empty: NO_PATHS, units: { duration_p95: 'ms', duration_mean: 'ms' }, query: paths },
    { w: 24, h: 12, type: 'nodegraph', title: 'Map', unit: 'short', description: 'Services, exchanges and queues; the numbers are messages of the chosen time.', empty: NO_PATHS, queries: graph },
    ...sized(12, 8, [
      { type: 'timeseries', title: 'Messages per path', unit: 'short', description: 'Messages that arrived, in each interval.', empty: NO_PATHS,
        query: { by: ['path'], ...series({ ...ARRIVED, field: 'count', where: { direction: 'in' }, each: 'sum' }) } },
      { type: 'timeseries', title: 'Latency per path, p95', unit: 'ms', description: 'From the origin of the path to the delivery; the worst window of each interval.', empty: NO_PATHS,
        query: { by: ['path'], ...series({ ...FIRST, field: 'duration_p95', each: 'max' }) } },
      { type: 'timeseries', title: 'Waiting per hop, p95', unit: 'ms', description: 'From the publish to the delivery: the broker\'s queue, the wire and the prefetch buffer.', empty: NO_PATHS, query: hop('edge_p95', 'max') },
      { type: 'timeseries', title: 'Work per hop, p95', unit: 'ms', description: 'From the delivery until it is settled.', empty: NO_PATHS, query: hop('process_p95', 'max') },
    ]),
    { w: 24, h: 10, type: 'table', title: 'Slowest deliveries', unit: 'none', description: 'Of those that were sampled, with their traces.', empty: NO_SPANS, units: { duration_ms: 'ms', queue_ms: 'ms' }, query: slowest },
  ],
};
