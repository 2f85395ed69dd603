// Queries in both dialects from one description: Flux for InfluxDB 2, SQL for InfluxDB 3.
//
// A description names `measurement`, `field`, the tags `by` which series are told apart, `where`
// (tag: value), the multi-valued variables `chosen` (tag: variable), and how values are put
// together: `each` for those of one series in one interval, `all` for those of several series
// (absent: they stay apart), `scale` and `as` for what is shown.

const indent = (lines) => lines.filter(Boolean).join('\n  |> ');
const list = (names) => `[${names.map((name) => `"${name}"`).join(', ')}]`;

/// The lines of a Flux query up to and with its filters.
export const source = ({ measurement, fields, where = {}, chosen = {} }) => {
  const tests = [`r._measurement == "${measurement}"`];
  if (fields) tests.push(`(${fields.map((field) => `r._field == "${field}"`).join(' or ')})`);
  for (const [tag, value] of Object.entries(where)) tests.push(`r.${tag} == "${value}"`);
  for (const [tag, name] of Object.entries(chosen)) tests.push(`r.${tag} =~ /^\${${name}:regex}$/`);
  return [
    'from(bucket: v.defaultBucket)',
    'range(start: v.timeRangeStart, stop: v.timeRangeStop)',
    `filter(fn: (r) => ${tests.join(' and ')})`,
  ];
};

const sqlWhere = ({ where = {}, chosen = {} }, field) => {
  const tests = ['$__timeFilter(time)'];
  if (field) tests.push(`"${field}" IS NOT NULL`);
  for (const [tag, value] of Object.entries(where)) tests.push(`"${tag}" = '${value}'`);
  for (const [tag, name] of Object.entries(chosen)) tests.push(`"${tag}" IN (\${${name}:sqlstring})`);
  return tests.join(' AND ');
};

const sqlEach = {
  last: (field) => `last_value("${field}" ORDER BY time)`,
  mean: (field) => `avg("${field}")`,
  sum: (field) => `sum("${field}")`,
  max: (field) => `max("${field}")`,
  count: (field) => `count("${field}")`,
};
const sqlAll = { sum: 'sum', max: 'max', mean: 'avg' };

const scaled = (scale) => (scale ? `map(fn: (r) => ({r with _value: float(v: r._value) * ${scale}}))` : '');
const times = (value, scale) => (scale ? `${value} * ${scale}` : value);

/// Values over time.
export function series(query) {
  const { measurement, field, by = [], each, all, scale, as = 'value' } = query;
  const own = query.series ?? by;
  const flux = [...source({ ...query, fields: [field] })];
  if (all) {
    flux.push(`aggregateWindow(every: v.windowPeriod, fn: ${each}, createEmpty: false)`);
    flux.push(`group(columns: ${list([...by, '_time'])})`, `${all}()`);
    flux.push(`group(columns: ${list(by)})`, 'sort(columns: ["_time"])');
  } else {
    flux.push(`group(columns: ${list(by)})`);
    flux.push(`aggregateWindow(every: v.windowPeriod, fn: ${each}, createEmpty: false)`);
  }
  flux.push(scaled(scale), `map(fn: (r) => ({r with _field: "${as}"}))`);
  if (by.length) flux.push(`group(columns: ${list([...by, '_field'])})`);
  const names = (tags) => tags.map((tag) => `"${tag}", `).join('');
  const places = (tags) => tags.map((_, index) => index + 2).join(', ');
  const group = (tags) => (tags.length ? `1, ${places(tags)}` : '1');
  const inner = `SELECT $__dateBin(time) AS time, ${names(own)}${sqlEach[each](field)} AS value\nFROM ${measurement}\nWHERE ${sqlWhere(query, field)}\nGROUP BY ${group(own)}`;
  const sql = all
    ? `SELECT time, ${names(by)}${times(`${sqlAll[all]}(value)`, scale)} AS "${as}"\nFROM (${inner})\nGROUP BY ${group(by)}\nORDER BY 1`
    : `SELECT time, ${names(by)}${times('value', scale)} AS "${as}"\nFROM (${inner})\nORDER BY 1`;
  return { flux: indent(flux), sql, format: 'time_series' };
}

/// One number: what `each` makes of every series, put together by `all`.
export function number(query) {
  const { measurement, field, each, all, scale, as = 'value' } = query;
  const own = query.series ?? [];
  const flux = [
    ...source({ ...query, fields: [field] }),
    each === 'last' ? `group(columns: ${list([...own])})` : '',
    each === 'last' ? 'sort(columns: ["_time"])' : '',
    `${each}()`,
    'group()',
    `${all}()`,
    scaled(scale),
    `map(fn: (r) => ({"${as}": r._value}))`,
  ];
  const names = own.map((tag) => `"${tag}", `).join('');
  const group = own.length ? `\nGROUP BY ${own.map((_, index) => index + 1).join(', ')}` : '';
  const inner = `SELECT ${names}${sqlEach[each](field)} AS value\nFROM ${measurement}\nWHERE ${sqlWhere(query, field)}${group}`;
  const of = all === 'count' ? 'count' : sqlAll[all];
  const sql = `SELECT ${times(`${of}(value)`, scale)} AS "${as}"\nFROM (${inner})`;
  return { flux: indent(flux), sql, format: 'table' };
}

/// A table of what is asked in both dialects as they are written.
export const script = (flux, sql) => ({ flux, sql, format: 'table' });
