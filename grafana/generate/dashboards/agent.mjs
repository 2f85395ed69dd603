// rabtrace itself, by what it tells Prometheus.
import { sized } from './common.mjs';

const EMPTY = 'nothing yet: does Prometheus scrape the agent? see docs/dashboards.md';
const over = (title, unit, description, promql, legend = '{{instance}}', more = {}) => ({
  type: 'timeseries', title, unit, description, empty: EMPTY, query: { promql, legend }, ...more,
});

export const agent = {
  name: 'rabtrace',
  title: 'rabtrace itself',
  description: 'What comes in, what goes out, what is dropped, what waits, what it costs.',
  panels: sized(12, 8, [
    over('Spans in', 'cps', 'Spans that came in, a second.', 'rate(rabtrace_spans_received_total[$__rate_interval])'),
    over('Spans stored', 'cps', 'Spans that went into the embedded store, a second.', 'rate(rabtrace_spans_stored_total[$__rate_interval])'),
    over('Points to InfluxDB', 'cps', 'Points that InfluxDB took, a second.', 'rate(rabtrace_points_written_total[$__rate_interval])'),
    over('Requests forwarded', 'reqps', 'OTLP requests that the upstream took, a second.', 'rate(rabtrace_requests_forwarded_total[$__rate_interval])'),
    over('Dropped', 'short', 'What was lost in the last five minutes, where and why.', 'sum by (stage, reason) (increase(rabtrace_dropped_total[5m])) > 0', '{{stage}}: {{reason}}', { empty: 'nothing was dropped' }),
    over('Refused', 'short', 'OTLP requests that were refused in the last five minutes: their senders come again where they may.', 'sum by (reason) (increase(rabtrace_refused_total[5m])) > 0', '{{reason}}', { empty: 'nothing was refused' }),
    over('Spool', 'percentunit', 'How full the spool of each sink is; when it is full the oldest is dropped.', 'rabtrace_spool_bytes / rabtrace_spool_max_bytes', '{{sink}}', { max: 1, empty: 'no sink is configured' }),
    over('Waiting', 'short', 'Requests or batches that are not delivered yet.', 'rabtrace_spool_records', '{{sink}}', { empty: 'no sink is configured' }),
    over('CPU', 'percentunit', 'CPU of the agent, in cores.', 'rate(process_cpu_seconds_total[$__rate_interval]) and on (job, instance) rabtrace_build_info'),
    over('Memory', 'bytes', 'Resident memory of the agent.', 'process_resident_memory_bytes and on (job, instance) rabtrace_build_info'),
    over('Polls of the broker', 'cps', 'Polls that gave a snapshot, a second.', 'rate(rabtrace_polls_total[$__rate_interval])'),
    over('Failed attempts', 'short', 'Attempts that failed and were made again, in the last five minutes.', 'sum by (stage) (increase(rabtrace_errors_total[5m])) > 0', '{{stage}}', { empty: 'none failed' }),
  ]),
};
