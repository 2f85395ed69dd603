// Looks at every dashboard as it is committed: what Grafana needs, what a person needs, and every
// Flux query through the Flux compiler. Says each fault on a line of its own; exit code 1 if any.
//
//     node check.cjs FOLDER       checks the dashboards below FOLDER
//     node check.cjs --rules FILE checks the Flux of Grafana's alert rules
//     node check.cjs --flux       checks the Flux on stdin
const fs = require('node:fs');
const path = require('node:path');
const { createRequire } = require('node:module');

const packages = createRequire(path.join(__dirname, '../../package.json'));
const { Flux } = packages('@influxdata/flux-lsp-node');
const YAML = packages('yaml');

// What Grafana puts in: `v`, and the variables of the dashboard.
const VALUES = 'option v = {defaultBucket: "rabtrace", timeRangeStart: -1h, timeRangeStop: now(), windowPeriod: 10s}\n';
const interpolate = (flux) => flux.replace(/\$\{\w+:regex\}/g, 'a\\/b').replace(/\$\{\w+_price\}/g, '3.0');

function compiles(flux) {
  const text = interpolate(flux);
  const imports = text.match(/^import .*$/gm) ?? [];
  const rest = text.replace(/^import .*$/gm, '');
  return new Flux(`${imports.join('\n')}\n${VALUES}${rest}`).is_valid() && !/\$\{/.test(text);
}

const faults = [];
const seen = { uid: new Map(), title: new Map() };
const unique = (kind, value, where) => {
  if (seen[kind].has(value)) faults.push(`${where}: ${kind} ${value} is that of ${seen[kind].get(value)} too`);
  seen[kind].set(value, where);
};

const overlap = (a, b) => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;

function checkPanels(where, dashboard) {
  const { panels } = dashboard;
  for (const kind of ['id', 'title']) {
    const values = panels.map((panel) => panel[kind]);
    if (new Set(values).size !== values.length) faults.push(`${where}: two panels have one ${kind}`);
  }
  panels.forEach((panel, index) => {
    const at = `${where}: ${panel.title}`;
    if (panel.gridPos.x + panel.gridPos.w > 24) faults.push(`${at}: is outside of the grid`);
    for (const other of panels.slice(index + 1)) {
      if (overlap(panel.gridPos, other.gridPos)) faults.push(`${at}: lies over ${other.title}`);
    }
    const { unit, noValue } = panel.fieldConfig?.defaults ?? {};
    if (!unit) faults.push(`${at}: has no unit`);
    if (!panel.description) faults.push(`${at}: has no description`);
    if (!noValue) faults.push(`${at}: says nothing when it is empty`);
    if (!panel.targets?.length) faults.push(`${at}: asks nothing`);
    checkLinks(at, panel);
    for (const target of panel.targets ?? []) checkTarget(at, target);
  });
}

function checkLinks(at, panel) {
  const text = JSON.stringify(panel.targets);
  const defaults = JSON.stringify(panel.fieldConfig.defaults);
  if (defaults.includes('labels.path') && !defaults.includes('paths/one?path=')) faults.push(`${at}: its paths lead nowhere`);
  const linked = (name) => panel.fieldConfig.overrides?.some((override) => override.matcher.options === name && JSON.stringify(override.properties).includes('"links"'));
  if (panel.type === 'table' && text.includes('trace_id') && !linked('trace_id')) faults.push(`${at}: its traces lead nowhere`);
  if (panel.type === 'table' && /\bpath\b/.test(text) && !linked('path')) faults.push(`${at}: its paths lead nowhere`);
}

// Fields of several types: in one table they are an error, which Flux finds when it runs only.
const KINDS = fields();

function fields() {
  const page = fs.readFileSync(path.join(__dirname, '../../../docs/measurements.md'), 'utf8');
  const kinds = new Map();
  for (const section of page.split('\n### ').slice(1)) {
    for (const [, field, kind] of section.matchAll(/^\| `(\w+)` \| (int|float|string) \|/gm)) kinds.set(field, (kinds.get(field) ?? new Set()).add(kind));
  }
  return kinds;
}

/// Whether a pipeline puts fields of several types into one table: it groups without `_field` before
/// it has made columns of them, or one type.
function mixes(flux) {
  return flux.split(/^(?=\w+ = )|^(?=union\()/m).some((part) => {
    const kinds = new Set([...part.matchAll(/r\._field == "(\w+)"/g)].flatMap(([, field]) => [...(KINDS.get(field) ?? [])]));
    const before = part.split(/pivot\(|float\(v: r\._value\)/)[0];
    return kinds.size > 1 && [...before.matchAll(/group\((.*)\)/g)].some(([, by]) => !by.includes('"_field"'));
  });
}

function checkFlux(at, flux) {
  if (!compiles(flux)) faults.push(`${at}: no Flux: ${flux}`);
  if (mixes(flux)) faults.push(`${at}: fields of several types come into one table: ${flux}`);
}

function checkRules(file) {
  const rules = YAML.parse(fs.readFileSync(file, 'utf8')).groups.flatMap((group) => group.rules);
  for (const rule of rules) checkFlux(rule.title, rule.data[0].model.query);
  return rules.length;
}

function checkTarget(at, target) {
  if (target.datasource?.uid !== '${datasource}') faults.push(`${at}: names a data source`);
  if (target.query !== undefined) checkFlux(at, target.query);
  if (target.query === undefined && target.rawSql === undefined && target.expr === undefined) faults.push(`${at}: has no query`);
}

function checkVariables(where, dashboard) {
  const { list } = dashboard.templating;
  const names = new Set(list.map((variable) => variable.name));
  for (const [, name] of JSON.stringify(dashboard).matchAll(/\$\{(\w+)[:}]/g)) {
    if (!name.startsWith('__') && !names.has(name)) faults.push(`${where}: there is no variable ${name}`);
  }
  for (const { name, query } of list.filter((variable) => variable.type === 'query')) {
    if (query.query && !query.rawSql && !compiles(query.query)) faults.push(`${where}: variable ${name}: no Flux`);
  }
}

function checkDashboard(file, where) {
  const dashboard = JSON.parse(fs.readFileSync(file, 'utf8'));
  unique('uid', dashboard.uid, where);
  unique('title', dashboard.title, where);
  if (dashboard.panels.length === 0) faults.push(`${where}: is empty`);
  checkPanels(where, dashboard);
  checkVariables(where, dashboard);
  return dashboard.panels.length;
}

if (process.argv[2] === '--flux') {
  const flux = fs.readFileSync(0, 'utf8');
  process.exitCode = compiles(flux) && !mixes(flux) ? 0 : 1;
} else if (process.argv[2] === '--rules') {
  const rules = checkRules(process.argv[3]);
  faults.forEach((fault) => console.log(fault));
  console.log(`${rules} rules, ${faults.length} faults`);
  process.exitCode = faults.length ? 1 : 0;
} else {
  const folder = process.argv[2];
  const files = fs.readdirSync(folder, { recursive: true }).filter((name) => name.endsWith('.json'));
  const panels = files.sort().reduce((sum, name) => sum + checkDashboard(path.join(folder, name), name), 0);
  faults.forEach((fault) => console.log(fault));
  console.log(`${files.length} dashboards, ${panels} panels, ${faults.length} faults`);
  process.exitCode = faults.length ? 1 : 0;
}
