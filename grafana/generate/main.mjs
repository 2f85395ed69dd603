// Writes the dashboards, the alert rules and their tests: `make grafana`. With `--check` nothing is
// written: it fails where a file differs from what would be.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

import { fluxRules, grafanaRules, prometheusRules, prometheusTests } from './alerts.mjs';
import { dashboards } from './dashboards.mjs';
import { YAML } from './libraries.mjs';

const HEAD = '# Made by `make grafana` from grafana/generate/alerts.mjs.\n';
const yaml = (content) => HEAD + YAML.stringify(content, { lineWidth: 100, aliasDuplicateObjects: false });

const files = new Map([
  ['deploy/prometheus/rules.yml', yaml(prometheusRules())],
  ['deploy/prometheus/rules.test.yml', yaml(prometheusTests())],
  ['deploy/helm/rabtrace/files/rules.yml', yaml(prometheusRules())],
  ['grafana/provisioning/prometheus/alerting.yml', yaml(grafanaRules())],
  ['grafana/provisioning/influxdb-2/alerting.yml', yaml(fluxRules())],
]);
for (const [path, dashboard] of dashboards()) {
  files.set(path, `${JSON.stringify(dashboard, null, 2)}\n`);
}

const check = process.argv.includes('--check');
let stale = 0;
for (const [path, text] of files) {
  const file = fileURLToPath(new URL(`../../${path}`, import.meta.url));
  const old = existsSync(file) ? readFileSync(file, 'utf8') : '';
  if (old === text) continue;
  if (check) {
    console.error(`${path} is not what its source makes: make grafana`);
    stale += 1;
    continue;
  }
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
  console.log(path);
}
process.exitCode = stale ? 1 : 0;
