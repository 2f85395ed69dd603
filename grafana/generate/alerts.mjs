// The alert rules, once for Prometheus, Grafana and Helm, each with the case on which it fires and
// one beside it on which it stays silent.
//
// `fires` and `silent` hold series in promtool's notation, a sample a minute from minute 0; `at` is
// the minute at which is looked, `labels` and `summary` what is then told.

import { fluxAlerts } from './flux_alerts.mjs';

// Dead-letter queues have no consumers and old messages by design; DeadLetters watches them.
const LIVE = 'queue!~".*(dead|dlq|dlx|parking).*"';
const queue = (labels) => `vhost="/",queue="${labels}"`;

export const alerts = [
  {
    name: 'QueueGrowing',
    severity: 'warning',
    for: '5m',
    expr: 'sum by (vhost, queue) (rabtrace_queue_messages) and on (vhost, queue) (rabtrace_queue_status_code == 3)',
    summary: 'Queue {{ $labels.queue }} in {{ $labels.vhost }} only grows: {{ $value | humanize }} messages',
    description: 'Messages are acknowledged, but over ten polls more came in than went out.',
    at: 12,
    labels: { vhost: '/', queue: 'orders' },
    told: 'Queue orders in / only grows: 1.3k messages',
    fires: {
      [`rabtrace_queue_messages{${queue('orders')},state="ready"}`]: '100+100x12',
      [`rabtrace_queue_status_code{${queue('orders')}}`]: '3x12',
    },
    silent: {
      [`rabtrace_queue_messages{${queue('orders')},state="ready"}`]: '100+100x12',
      [`rabtrace_queue_status_code{${queue('orders')}}`]: '3x5 1x7',
    },
  },
  {
    name: 'QueueWithoutConsumer',
    severity: 'critical',
    for: '2m',
    expr: `sum by (vhost, queue) (rabtrace_queue_messages) > 0 and on (vhost, queue) (rabtrace_queue_consumers{${LIVE}} == 0)`,
    summary: 'Nobody consumes {{ $labels.queue }} in {{ $labels.vhost }}: {{ $value | humanize }} messages wait',
    description: 'There are messages, and no consumer is registered.',
    at: 5,
    labels: { vhost: '/', queue: 'orders' },
    told: 'Nobody consumes orders in /: 7 messages wait',
    fires: {
      [`rabtrace_queue_messages{${queue('orders')},state="ready"}`]: '7x5',
      [`rabtrace_queue_consumers{${queue('orders')}}`]: '1 0x4',
    },
    silent: {
      [`rabtrace_queue_messages{${queue('orders.dead')},state="ready"}`]: '7x5',
      [`rabtrace_queue_consumers{${queue('orders.dead')}}`]: '0x5',
      [`rabtrace_queue_messages{${queue('empty')},state="ready"}`]: '0x5',
      [`rabtrace_queue_consumers{${queue('empty')}}`]: '0x5',
    },
  },
  {
    name: 'OldestMessageTooOld',
    severity: 'warning',
    for: '1m',
    expr: `max by (vhost, queue) (rabtrace_queue_head_age_seconds{${LIVE}}) > 300`,
    summary: 'The oldest message of {{ $labels.queue }} in {{ $labels.vhost }} waits for {{ $value | humanizeDuration }}',
    description: 'A message has been waiting for more than five minutes.',
    at: 8,
    labels: { vhost: '/', queue: 'orders' },
    told: 'The oldest message of orders in / waits for 8m 0s',
    fires: { [`rabtrace_queue_head_age_seconds{${queue('orders')}}`]: '0+60x8' },
    silent: {
      [`rabtrace_queue_head_age_seconds{${queue('orders')}}`]: '300x8',
      [`rabtrace_queue_head_age_seconds{${queue('orders.dlq')}}`]: '9000x8',
    },
  },
  {
    name: 'DeadLetters',
    severity: 'warning',
    for: '0m',
    expr: 'sum by (reason) (increase(rabtrace_broker_dead_lettered_total[5m])) > 0',
    summary: '{{ $value | humanize }} messages were given up in five minutes: {{ $labels.reason }}',
    description: 'Queues dead-lettered messages.',
    at: 6,
    labels: { reason: 'rejected' },
    told: '10 messages were given up in five minutes: rejected',
    fires: { 'rabtrace_broker_dead_lettered_total{node="rabbit@a",queue_type="quorum",dead_letter_strategy="at_most_once",reason="rejected"}': '0+2x6' },
    silent: { 'rabtrace_broker_dead_lettered_total{node="rabbit@a",queue_type="quorum",dead_letter_strategy="at_most_once",reason="rejected"}': '40x6' },
  },
  {
    name: 'ErrorRateHigh',
    severity: 'critical',
    for: '5m',
    expr: 'sum by (service) (rate(rabtrace_service_errors_total[5m])) / sum by (service) (rate(rabtrace_service_requests_total[5m])) > 0.05',
    summary: '{{ $labels.service }} fails {{ $value | humanizePercentage }} of its requests',
    description: 'More than 5 % of the requests and deliveries of the service failed in five minutes.',
    at: 12,
    labels: { service: 'search' },
    told: 'search fails 10% of its requests',
    fires: {
      'rabtrace_service_errors_total{service="search"}': '0+6x12',
      'rabtrace_service_requests_total{service="search"}': '0+60x12',
    },
    silent: {
      'rabtrace_service_errors_total{service="search"}': '0+3x12',
      'rabtrace_service_requests_total{service="search"}': '0+60x12',
    },
  },
  {
    name: 'PathSlow',
    severity: 'warning',
    for: '5m',
    expr: 'histogram_quantile(0.95, sum by (path, le) (rate(rabtrace_path_duration_seconds_bucket[5m]))) > 1',
    summary: 'p95 of {{ $labels.path }} is {{ $value | humanizeDuration }}, over its budget of 1s',
    description: 'One message in twenty takes longer than a second from the origin of its path to its last delivery. Set the budget of your paths here.',
    at: 12,
    labels: { path: 'gateway > orders > billing' },
    told: 'p95 of gateway > orders > billing is 2.425s, over its budget of 1s',
    fires: {
      'rabtrace_path_duration_seconds_bucket{path="gateway > orders > billing",le="1"}': '0+0x12',
      'rabtrace_path_duration_seconds_bucket{path="gateway > orders > billing",le="2.5"}': '0+60x12',
      'rabtrace_path_duration_seconds_bucket{path="gateway > orders > billing",le="+Inf"}': '0+60x12',
    },
    silent: {
      'rabtrace_path_duration_seconds_bucket{path="gateway > orders > billing",le="1"}': '0+60x12',
      'rabtrace_path_duration_seconds_bucket{path="gateway > orders > billing",le="2.5"}': '0+61x12',
      'rabtrace_path_duration_seconds_bucket{path="gateway > orders > billing",le="+Inf"}': '0+61x12',
    },
  },
  {
    name: 'RedeliveryStorm',
    severity: 'critical',
    for: '2m',
    expr: 'sum by (vhost, queue) (rate(rabtrace_queue_messages_redelivered_total[5m])) > 1 and sum by (vhost, queue) (rate(rabtrace_queue_messages_redelivered_total[5m])) > 0.5 * sum by (vhost, queue) (rate(rabtrace_queue_messages_delivered_total[5m]))',
    summary: '{{ $labels.queue }} in {{ $labels.vhost }} redelivers {{ $value | humanize }} messages a second',
    description: 'More than half of what the queue delivers was delivered before: consumers give messages back, or die with them.',
    at: 8,
    labels: { vhost: '/', queue: 'orders' },
    told: 'orders in / redelivers 4 messages a second',
    fires: {
      [`rabtrace_queue_messages_redelivered_total{${queue('orders')}}`]: '0+240x8',
      [`rabtrace_queue_messages_delivered_total{${queue('orders')}}`]: '0+300x8',
    },
    silent: {
      [`rabtrace_queue_messages_redelivered_total{${queue('orders')}}`]: '0+240x8',
      [`rabtrace_queue_messages_delivered_total{${queue('orders')}}`]: '0+900x8',
      [`rabtrace_queue_messages_redelivered_total{${queue('quiet')}}`]: '0+6x8',
      [`rabtrace_queue_messages_delivered_total{${queue('quiet')}}`]: '0+6x8',
    },
  },
  {
    name: 'ConsumerAtPrefetchLimit',
    severity: 'warning',
    for: '5m',
    expr: 'max_over_time(rabtrace_queue_messages{state="unacknowledged"}[5m]) > 0 and on (vhost, queue) min_over_time(rabtrace_queue_messages{state="unacknowledged"}[5m]) >= 0.9 * max_over_time(rabtrace_queue_messages{state="unacknowledged"}[5m]) and on (vhost, queue) min_over_time(rabtrace_queue_messages{state="ready"}[5m]) > 0',
    summary: 'Consumers of {{ $labels.queue }} in {{ $labels.vhost }} are full: {{ $value | humanize }} messages unacknowledged, more wait',
    description: 'For five minutes the consumers held as many messages as they may, by what the queue shows: unacknowledged stands still while messages wait.',
    at: 12,
    labels: { vhost: '/', queue: 'orders', state: 'unacknowledged' },
    told: 'Consumers of orders in / are full: 20 messages unacknowledged, more wait',
    fires: {
      [`rabtrace_queue_messages{${queue('orders')},state="unacknowledged"}`]: '20 19 20 20 20 19 20 20 20 19 20 20 20',
      [`rabtrace_queue_messages{${queue('orders')},state="ready"}`]: '5x12',
    },
    silent: {
      [`rabtrace_queue_messages{${queue('orders')},state="unacknowledged"}`]: '20 3 20 20 0 20 20 4 20 20 1 20 20',
      [`rabtrace_queue_messages{${queue('orders')},state="ready"}`]: '5x12',
      [`rabtrace_queue_messages{${queue('none waits')},state="unacknowledged"}`]: '20x12',
      [`rabtrace_queue_messages{${queue('none waits')},state="ready"}`]: '5 0x11',
    },
  },
  {
    name: 'BrokerAlarm',
    severity: 'critical',
    for: '0m',
    expr: 'max by (node, resource) (rabtrace_node_alarm) == 1',
    summary: 'The {{ $labels.resource }} alarm of {{ $labels.node }} is raised: publishers are blocked',
    description: 'A node of the broker has too little memory or disk, and takes no messages.',
    at: 2,
    labels: { node: 'rabbit@a', resource: 'disk' },
    told: 'The disk alarm of rabbit@a is raised: publishers are blocked',
    fires: { 'rabtrace_node_alarm{node="rabbit@a",resource="disk"}': '0 1 1', 'rabtrace_node_alarm{node="rabbit@a",resource="memory"}': '0x2' },
    silent: { 'rabtrace_node_alarm{node="rabbit@a",resource="disk"}': '0x2' },
  },
  {
    name: 'NodeDown',
    severity: 'critical',
    for: '1m',
    expr: 'max by (node) (rabtrace_node_running) == 0 or (max by (node) (rabtrace_broker_peer_up{source="prometheus"}) == 0 and on (node) max by (node) (max_over_time(rabtrace_broker_peer_up{source="prometheus"}[1h])) == 1)',
    summary: 'Node {{ $labels.node }} of the broker is down',
    description: 'The cluster says that the node does not run, or the node, which answered within the hour, does not answer.',
    at: 4,
    labels: { node: 'rabbit@b' },
    told: 'Node rabbit@b of the broker is down',
    fires: { 'rabtrace_broker_peer_up{node="rabbit@b",source="prometheus"}': '1 0x3', 'rabtrace_broker_peer_up{node="rabbit@a",source="prometheus"}': '1x4' },
    silent: { 'rabtrace_broker_peer_up{node="never",source="prometheus"}': '0x4', 'rabtrace_node_running{node="rabbit@a"}': '1x4' },
  },
  {
    name: 'BrokerUnreachable',
    severity: 'critical',
    for: '1m',
    expr: 'min(rabtrace_broker_up) == 0 unless on () (max(rabtrace_broker_peer_login_refused) == 1)',
    summary: 'rabtrace cannot ask the broker',
    description: 'Neither rabbitmq_prometheus, nor the management API, nor AMQP told of queues, and none of them refused the login: queues are not watched.',
    at: 3,
    labels: {},
    told: 'rabtrace cannot ask the broker',
    fires: { rabtrace_broker_up: '1 0x2', 'rabtrace_broker_peer_login_refused{node="rabbit@a:15672",source="totals"}': '0x3' },
    silent: { rabtrace_broker_up: '0x3', 'rabtrace_broker_peer_login_refused{node="rabbit@a:15672",source="totals"}': '1x3' },
  },
  {
    name: 'BrokerLoginRefused',
    severity: 'critical',
    for: '1m',
    expr: 'max by (node, source) (rabtrace_broker_peer_login_refused) == 1',
    summary: '{{ $labels.node }} refuses the login of rabtrace ({{ $labels.source }})',
    description: 'The broker is there, and does not let rabtrace in: what only this peer tells is not watched.',
    at: 3,
    labels: { node: 'rabbit@a:15672', source: 'totals' },
    told: 'rabbit@a:15672 refuses the login of rabtrace (totals)',
    fires: { 'rabtrace_broker_peer_login_refused{node="rabbit@a:15672",source="totals"}': '0 1x2' },
    silent: { rabtrace_broker_up: '0x3', 'rabtrace_broker_peer_login_refused{node="rabbit@a:15672",source="totals"}': '1 0 1 0' },
  },
  {
    name: 'AgentDown',
    severity: 'critical',
    for: '2m',
    expr: 'up{job=~".*rabtrace.*"} == 0 or absent(rabtrace_build_info)',
    summary: 'The agent is down',
    description: 'Prometheus cannot scrape rabtrace: nothing is watched.',
    at: 4,
    labels: { job: 'rabtrace', instance: 'a:9469' },
    told: 'The agent is down',
    fires: { 'up{job="rabtrace",instance="a:9469"}': '1 0x3', 'rabtrace_build_info{version="0"}': '1x4' },
    silent: { 'up{job="rabtrace",instance="a:9469"}': '1x4', 'up{job="other"}': '0x4', 'rabtrace_build_info{version="0"}': '1x4' },
  },
  {
    name: 'AgentDropping',
    severity: 'warning',
    for: '0m',
    expr: 'sum by (stage, reason) (increase(rabtrace_dropped_total[5m])) > 0',
    summary: 'The agent dropped {{ $value | humanize }} in five minutes at {{ $labels.stage }}: {{ $labels.reason }}',
    description: 'Spans, points or requests were lost.',
    at: 6,
    labels: { stage: 'influx', reason: 'spool_full' },
    told: 'The agent dropped 50 in five minutes at influx: spool_full',
    fires: { 'rabtrace_dropped_total{stage="influx",reason="spool_full"}': '0+10x6' },
    silent: { 'rabtrace_dropped_total{stage="influx",reason="spool_full"}': '60x6' },
  },
  {
    name: 'SpoolFilling',
    severity: 'warning',
    for: '5m',
    expr: 'max by (sink) (rabtrace_spool_bytes / rabtrace_spool_max_bytes) > 0.7',
    summary: 'The spool of {{ $labels.sink }} is {{ $value | humanizePercentage }} full',
    description: 'What waits for a sink that is away or slow takes more than 70 % of spool.max_bytes; at 100 % the oldest is dropped.',
    at: 8,
    labels: { sink: 'influx' },
    told: 'The spool of influx is 80% full',
    fires: { 'rabtrace_spool_bytes{sink="influx"}': '80x8', 'rabtrace_spool_max_bytes{sink="influx"}': '100x8' },
    silent: { 'rabtrace_spool_bytes{sink="influx"}': '70x8', 'rabtrace_spool_max_bytes{sink="influx"}': '100x8' },
  },
  {
    name: 'SuccessRateLow',
    severity: 'critical',
    for: '5m',
    expr: 'sum by (agent) (rate(rabtrace_agent_notifications_processed_total[10m])) / sum by (agent) (rate(rabtrace_agent_notifications_received_total[10m])) < 0.8',
    summary: '{{ $labels.agent }} succeeds with {{ $value | humanizePercentage }} of its notifications',
    description: 'An agent of the platform fails more than one notification in five.',
    at: 16,
    labels: { agent: 'planner-1' },
    told: 'planner-1 succeeds with 50% of its notifications',
    fires: {
      'rabtrace_agent_notifications_processed_total{agent="planner-1",notification_type="weather"}': '0+30x16',
      'rabtrace_agent_notifications_received_total{agent="planner-1",notification_type="weather"}': '0+60x16',
    },
    silent: {
      'rabtrace_agent_notifications_processed_total{agent="planner-1",notification_type="weather"}': '0+54x16',
      'rabtrace_agent_notifications_received_total{agent="planner-1",notification_type="weather"}': '0+60x16',
    },
  },
  {
    name: 'MemoryHigh',
    severity: 'warning',
    for: '5m',
    expr: 'max by (service) (rabtrace_service_memory_bytes) > 1e9 or (process_resident_memory_bytes and on (job, instance) rabtrace_build_info) > 1e9',
    summary: '{{ if $labels.service }}{{ $labels.service }}{{ else }}The agent{{ end }} uses {{ $value | humanize1024 }}B of memory',
    description: 'A service, as it tells itself, or the agent uses more than 1 GB.',
    at: 8,
    labels: { service: 'planner' },
    told: 'planner uses 2GiB of memory',
    fires: { 'rabtrace_service_memory_bytes{service="planner"}': '2147483648x8' },
    silent: {
      'rabtrace_service_memory_bytes{service="planner"}': '900000000x8',
      'process_resident_memory_bytes{job="other",instance="b"}': '2000000000x8',
      'process_resident_memory_bytes{job="rabtrace",instance="a"}': '200000000x8',
      'rabtrace_build_info{job="rabtrace",instance="a"}': '1x8',
    },
  },
  {
    name: 'PathVanished',
    severity: 'warning',
    for: '5m',
    expr: '(sum by (path) (increase(rabtrace_path_messages_total[1h] offset 30m)) > 20 unless sum by (path) (increase(rabtrace_path_messages_total[30m])) > 0) and on () sum(increase(rabtrace_path_messages_total[30m])) > 0',
    summary: 'No message took {{ $labels.path }} for half an hour; {{ $value | humanize }} did in the hour before',
    description: 'A path that was in use is not any more, while others are: a service is away, a binding is gone, or a routing key changed.',
    at: 96,
    labels: { path: 'gateway > orders > billing' },
    told: 'No message took gateway > orders > billing for half an hour; 240 did in the hour before',
    fires: {
      'rabtrace_path_messages_total{path="gateway > orders > billing"}': '0+10x30 300x66',
      'rabtrace_path_messages_total{path="gateway > mail"}': '0+10x96',
    },
    silent: {
      'rabtrace_path_messages_total{path="gateway > orders > billing"}': '0+10x96',
      'rabtrace_path_messages_total{path="rare"}': '0+1x15 15x81',
      'rabtrace_path_messages_total{path="gateway > mail"}': '0+10x96',
    },
  },
];

/// Where a rule's section of docs/runbooks.md is.
const RUNBOOKS = 'docs/runbooks.md';

const annotations = (alert, summary) => ({
  summary,
  description: alert.description,
  runbook: `${RUNBOOKS}#${alert.name.toLowerCase()}`,
});

/// Prometheus' file of rules.
export function prometheusRules() {
  const rules = alerts.map((alert) => ({
    alert: alert.name,
    expr: alert.expr,
    for: alert.for,
    labels: { severity: alert.severity },
    annotations: annotations(alert, alert.summary),
  }));
  return { groups: [{ name: 'rabtrace', rules }] };
}

/// promtool's tests of that file.
export function prometheusTests() {
  const series = (input) => Object.entries(input).map(([name, values]) => ({ series: name, values }));
  const check = (alert, input, expected) => ({
    interval: '1m',
    input_series: series(input),
    alert_rule_test: [{ eval_time: `${alert.at}m`, alertname: alert.name, exp_alerts: expected }],
  });
  const tests = alerts.flatMap((alert) => {
    const told = {
      exp_labels: { severity: alert.severity, ...alert.labels },
      exp_annotations: annotations(alert, alert.told),
    };
    return [check(alert, alert.fires, [told]), check(alert, alert.silent, [])];
  });
  return { rule_files: ['rules.yml'], evaluation_interval: '1m', tests };
}

const grafana = (rules) => ({
  apiVersion: 1,
  groups: [{ orgId: 1, name: 'rabtrace', folder: 'rabtrace', interval: '1m', rules }],
});

const rule = (alert, value) => ({
  uid: `rabtrace-${alert.name.toLowerCase()}`,
  title: alert.name,
  execErrState: 'Error',
  for: alert.for,
  labels: { severity: alert.severity },
  annotations: annotations(alert, alert.summary.replaceAll('$value', value)),
  isPaused: false,
});
const query = (refId, datasourceUid, seconds, model) => ({ refId, relativeTimeRange: { from: seconds, to: 0 }, datasourceUid, model: { refId, ...model } });
const expression = (refId, model) => ({ refId, datasourceUid: '__expr__', model: { refId, ...model } });

/// Grafana's provisioning of the same rules, asked of the data source `rabtrace-prometheus`. A
/// comparison in PromQL leaves the series that fire; whatever is left fires.
export const grafanaRules = () => grafana(alerts.map((alert) => ({
  ...rule(alert, '$values.A.Value'),
  condition: 'B',
  data: [
    query('A', 'rabtrace-prometheus', 600, { expr: alert.expr, instant: true }),
    expression('B', { type: 'math', expression: 'is_number($A)' }),
  ],
  noDataState: 'OK',
})));

/// Those that InfluxDB 2 has the numbers for, asked of `rabtrace-influxdb`. Whatever row is left fires, unless
/// the rule says otherwise.
export const fluxRules = () => grafana(alerts.filter(({ name }) => fluxAlerts[name]).map((alert) => ({
  ...rule(alert, '$values.B.Value'),
  condition: 'C',
  data: [
    query('A', 'rabtrace-influxdb', fluxAlerts[alert.name].seconds, { query: fluxAlerts[alert.name].flux }),
    expression('B', { type: 'reduce', expression: 'A', reducer: 'last' }),
    expression('C', { type: 'math', expression: fluxAlerts[alert.name].fires ?? 'is_number($B)' }),
  ],
  noDataState: fluxAlerts[alert.name].noData ?? 'OK',
})));
