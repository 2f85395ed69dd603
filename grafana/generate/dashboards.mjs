// What is on the dashboards. Titles, units, descriptions and what an empty panel says are part of it.
import { dashboard } from './panels.mjs';
import { flows } from './dashboards/flows.mjs';
import { errors, services } from './dashboards/services.mjs';
import { overview, queues, resources } from './dashboards/broker.mjs';
import { agent } from './dashboards/agent.mjs';

/// Every dashboard: path and content.
export const dashboards = () => [
  ...['flux', 'sql'].flatMap((dialect) =>
    [overview, queues, flows, services, errors, resources].map((each) => dashboard(dialect, each)),
  ),
  dashboard('prometheus', agent),
];
