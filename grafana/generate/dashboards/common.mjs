// What several dashboards have.

export const JAEGER = { name: 'jaeger', label: 'Jaeger', text: 'http://127.0.0.1:16686' };
export const AGENT = { name: 'agent', label: 'Agent', text: 'http://127.0.0.1:9469' };

const tagValues = (measurement, tag) => ({
  flux: `import "influxdata/influxdb/schema"\nschema.tagValues(bucket: v.defaultBucket, tag: "${tag}", predicate: (r) => r._measurement == "${measurement}", start: v.timeRangeStart)`,
  sql: `SELECT DISTINCT "${tag}" FROM ${measurement} WHERE $__timeFilter(time) ORDER BY 1`,
});
export const choice = (name, label, measurement, tag) => ({ name, label, multi: true, ...tagValues(measurement, tag) });

export const NO_QUEUES = 'no queues yet: rabtrace check tells whether the broker can be asked';
export const NO_PATHS = 'no paths yet: do the services export their metrics? see docs/paths.md';
export const NO_SPANS = 'no spans yet: do the services send OTLP to the agent?';

/// Panels of one width and height.
export const sized = (w, h, panels) => panels.map((panel) => ({ w, h, ...panel }));
