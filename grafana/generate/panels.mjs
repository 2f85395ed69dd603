// Panels and dashboards, built by Grafana's own library from descriptions that know both dialects.
import { sdk } from './libraries.mjs';

const { DashboardBuilder, DatasourceVariableBuilder, QueryVariableBuilder, TextBoxVariableBuilder, DashboardLinkBuilder, ThresholdsConfigBuilder, ThresholdsMode, VariableRefresh, VariableSort, DashboardCursorSync, DashboardLinkType } = sdk('dashboard');
const kinds = {
  timeseries: sdk('timeseries').PanelBuilder,
  stat: sdk('stat').PanelBuilder,
  table: sdk('table').PanelBuilder,
  nodegraph: sdk('nodegraph').PanelBuilder,
};
const { VizLegendOptionsBuilder, VizTooltipOptionsBuilder, LegendDisplayMode, LegendPlacement, TooltipDisplayMode, SortOrder, VisibilityMode, BigValueColorMode, BigValueGraphMode } = sdk('common');

export const DIALECTS = {
  flux: { type: 'influxdb', title: 'InfluxDB 2' },
  sql: { type: 'influxdb', title: 'InfluxDB 3' },
  prometheus: { type: 'prometheus', title: 'Prometheus' },
};

/// A query of ours as the library wants it.
const target = (dialect, query, refId) => ({
  build() {
    const datasource = { type: DIALECTS[dialect].type, uid: '${datasource}' };
    if (dialect === 'flux') return { refId, datasource, query: query.flux };
    if (dialect === 'sql') return { refId, datasource, rawSql: query.sql, rawQuery: true, format: query.format, resultFormat: query.format };
    return { refId, datasource, expr: query.promql, legendFormat: query.legend, range: true, editorMode: 'code' };
  },
});

const link = (title, url) => ({ title, url, targetBlank: true });
/// To the agent's answer about the path that Grafana has at `place`.
const toPath = (place) => link(`rabtrace paths --path "\${${place}}"`, `\${agent}/api/v1/paths/one?path=\${${place}:percentencode}`);
/// What a column of that name leads to.
const LINKS = {
  trace_id: [link('The trace in Jaeger', '${jaeger}/trace/${__value.raw}')],
  path: [toPath('__value.raw')],
};

const columns = (builder, panel) => {
  for (const [name, unit] of Object.entries(panel.units ?? {})) {
    builder.overrideByName(name, [{ id: 'unit', value: unit }]);
  }
  for (const [name, links] of Object.entries(LINKS)) {
    if (panel.type === 'table' && panel.query.sql?.includes(name)) builder.overrideByName(name, [{ id: 'links', value: links }]);
  }
};

function build(dialect, panel, id, place) {
  const builder = new kinds[panel.type]()
    .id(id)
    .title(panel.title)
    .description(panel.description)
    .datasource({ type: DIALECTS[dialect].type, uid: '${datasource}' })
    .gridPos(place)
    .unit(panel.unit)
    .noValue(panel.empty);
  const queries = panel.queries ?? { A: panel.query };
  for (const [refId, query] of Object.entries(queries)) builder.withTarget(target(dialect, query, refId));
  if (panel.type === 'timeseries') {
    builder
      .legend(new VizLegendOptionsBuilder().displayMode(LegendDisplayMode.List).placement(LegendPlacement.Bottom).showLegend(true))
      .tooltip(new VizTooltipOptionsBuilder().mode(TooltipDisplayMode.Multi).sort(SortOrder.Descending))
      .showPoints(VisibilityMode.Auto)
      .fillOpacity(10)
      .spanNulls(60000)
      .min(0);
    if (panel.max) builder.max(panel.max);
    const name = panel.query?.by?.map((tag) => `\${__field.labels.${tag}}`).join(' ');
    if (name) builder.displayName(name);
    if (panel.query?.by?.includes('path')) {
      builder.dataLinks([{ build: () => toPath('__field.labels.path') }]);
    }
  }
  if (panel.type === 'stat') builder.colorMode(BigValueColorMode.Value).graphMode(BigValueGraphMode.None);
  if (panel.type === 'stat' || panel.red !== undefined) {
    const steps = [{ value: null, color: 'green' }];
    if (panel.red !== undefined) steps.push({ value: panel.red, color: 'red' });
    if (panel.good !== undefined) steps.splice(0, 2, { value: null, color: 'red' }, { value: panel.good, color: 'green' });
    builder.thresholds(new ThresholdsConfigBuilder().mode(ThresholdsMode.Absolute).steps(steps));
  }
  columns(builder, panel);
  return builder;
}

const variables = (dialect, wanted) => {
  const { type, title } = DIALECTS[dialect];
  const made = [new DatasourceVariableBuilder('datasource').label(title).type(type)];
  for (const { name, label, flux, sql, multi, text } of wanted) {
    if (text !== undefined) {
      made.push(new TextBoxVariableBuilder(name).label(label).defaultValue(text).current({ text, value: text }));
      continue;
    }
    const query = dialect === 'flux' ? { query: flux, refId: name } : { rawSql: sql, query: sql, refId: name };
    made.push(
      new QueryVariableBuilder(name)
        .label(label)
        .datasource({ type, uid: '${datasource}' })
        .query(query)
        .refresh(VariableRefresh.OnTimeRangeChanged)
        .sort(VariableSort.AlphabeticalAsc)
        .multi(multi)
        .includeAll(multi)
        .current({ text: 'All', value: '$__all' }),
    );
  }
  return made;
};

/// Panels in rows of 24 columns, in their order.
const places = (panels) => {
  let [x, y, height] = [0, 0, 0];
  return panels.map(({ w, h }) => {
    if (x + w > 24) [x, y, height] = [0, y + height, 0];
    const place = { x, y, w, h };
    [x, height] = [x + w, Math.max(height, h)];
    return place;
  });
};

/// One dashboard in one dialect: its path, and what Grafana reads.
export function dashboard(dialect, { name, title, description, variables: wanted = [], panels }) {
  const suffix = dialect === 'sql' ? ' (SQL)' : '';
  const prefix = dialect === 'sql' ? 'rabtrace-sql' : 'rabtrace';
  const builder = new DashboardBuilder(`rabtrace: ${title}${suffix}`)
    .uid(`${prefix}-${name}`)
    .description(description)
    .tags(['rabtrace', dialect])
    .time({ from: 'now-30m', to: 'now' })
    .refresh('10s')
    .editable()
    .tooltip(DashboardCursorSync.Crosshair)
    .link(new DashboardLinkBuilder('rabtrace').type(DashboardLinkType.Dashboards).tags(['rabtrace', dialect]).asDropdown(false).keepTime(true));
  variables(dialect, wanted).forEach((variable) => builder.withVariable(variable));
  places(panels).forEach((place, index) => builder.withPanel(build(dialect, panels[index], index + 1, place)));
  return [`grafana/dashboards/${dialect}/${name}.json`, builder.build()];
}
