"""Runs every SQL query of the dashboards on DataFusion, over points in line protocol.

    check.py GRAFANA POINTS             every panel below the folder must have rows
    check.py --sql POINTS               runs the statement on stdin

RABTRACE_DATAFUSION says which DataFusion is meant. Grafana's macros and variables are put in as
Grafana does. Says each fault on a line; exit code 1.
"""

import datetime
import json
import os
import pathlib
import re
import sys

import datafusion
import pyarrow
import yaml

# What the demo need not tell: its services do not say their CPU nor requests under way, and no queue
# may get shorter. There is no such column then.
NOT_TOLD = {"cpu_usage_percent", "active_connections", "eta_drain_s"}


def split(text, separator):
    """Parts of `text` between separators that are neither escaped nor quoted."""
    parts, part, quoted, index = [], "", False, 0
    while index < len(text):
        letter = text[index]
        if letter == "\\" and index + 1 < len(text):
            part += text[index : index + 2]
            index += 2
            continue
        if letter == '"' and separator != "=":
            quoted = not quoted
        if letter == separator and not quoted:
            parts.append(part)
            part = ""
        else:
            part += letter
        index += 1
    return [*parts, part]


def plain(text):
    return re.sub(r"\\([,= \\])", r"\1", text)


def value(text):
    if text.startswith('"'):
        return re.sub(r'\\(["\\])', r"\1", text[1:-1])
    if text in ("true", "false"):
        return text == "true"
    return int(text[:-1]) if text.endswith("i") else float(text)


def tables(lines):
    """Columns of each measurement, tags as InfluxDB 3 has them: dictionaries."""
    rows, tags = {}, {}
    for line in lines:
        head, fields, time = split(line, " ")
        name, *pairs = split(head, ",")
        own = {plain(k): plain(v) for k, v in (pair.split("=", 1) for pair in pairs)}
        row = {"time": int(time), **own}
        for field in split(fields, ","):
            key, text = field.split("=", 1)
            row[plain(key)] = value(text)
        rows.setdefault(name, []).append(row)
        tags.setdefault(name, set()).update(own)
    return {name: table(of, tags[name]) for name, of in rows.items()}


def table(rows, tags):
    names = sorted({name for row in rows for name in row})
    arrays = []
    for name in names:
        column = [row.get(name) for row in rows]
        if name == "time":
            arrays.append(pyarrow.array(column, pyarrow.timestamp("ns")))
        elif name in tags:
            arrays.append(pyarrow.array(column, pyarrow.string()).dictionary_encode())
        else:
            arrays.append(pyarrow.array(column))
    return pyarrow.Table.from_arrays(arrays, names)


class Points:
    def __init__(self, path):
        self.context = datafusion.SessionContext()
        self.tables = tables(pathlib.Path(path).read_text().splitlines())
        for name, of in self.tables.items():
            self.context.register_record_batches(name, [of.to_batches()])
        times = [time.value for of in self.tables.values() for time in of.column("time")]
        stamp = lambda nanos: datetime.datetime.fromtimestamp(nanos, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.begin = stamp(min(times) // 10**9)
        self.end = stamp(max(times) // 10**9 + 1)

    def interpolate(self, sql, variables):
        begin, end = f"cast('{self.begin}' as timestamp)", f"cast('{self.end}' as timestamp)"
        sql = re.sub(r"\$__timeFilter\((\w+)\)", rf"\1 >= '{self.begin}' AND \1 <= '{self.end}'", sql)
        sql = re.sub(
            r"\$__dateBin\((\w+)\)",
            r"date_bin(interval '10 second', \1, timestamp '1970-01-01T00:00:00Z')",
            sql,
        )
        sql = sql.replace("$__timeFrom", begin).replace("$__timeTo", end)
        quoted = lambda values: ",".join("'" + text.replace("'", "''") + "'" for text in values)
        sql = re.sub(r"\$\{(\w+):sqlstring\}", lambda name: quoted(variables[name[1]]), sql)
        return re.sub(r"\$\{(\w+)\}", lambda name: variables[name[1]], sql)

    def rows(self, sql, variables=None):
        found = self.context.sql(self.interpolate(sql, variables or {})).to_arrow_table()
        for index, field in enumerate(found.schema):
            if pyarrow.types.is_timestamp(field.type):
                # Python knows no nanoseconds.
                micros = found.column(index).cast(pyarrow.timestamp("us"), safe=False)
                found = found.set_column(index, field.name, micros)
        return found.to_pylist()


def values(points, dashboard):
    """What each variable stands for, when all is chosen."""
    found = {}
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            found[variable["name"]] = [
                text for row in points.rows(variable["query"]["rawSql"]) for text in row.values()
            ]
        elif variable["type"] == "textbox":
            found[variable["name"]] = variable["query"]
    return found


def check(points, dashboard):
    variables = values(points, dashboard)
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            title = f"{dashboard['title']}: {panel['title']} {target['refId']}"
            try:
                rows = points.rows(target["rawSql"], variables)
            except Exception as error:
                if any(f"column '{name}' not found" in str(error) for name in NOT_TOLD):
                    continue
                yield f"{title}: {error}\n{target['rawSql']}"
                continue
            known = [value for row in rows for value in row.values() if value is not None]
            if not known:
                yield f"{title}: no rows"
            times = [row["time"] for row in rows] if target["format"] == "time_series" and rows else []
            if times != sorted(times):
                yield f"{title}: not in the order of time"


def flux(folder):
    """Every Flux query of dashboards and alert rules, with its place."""
    for path in sorted((folder / "dashboards/flux").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                yield f"{path.name}: {panel['title']}", target["query"]
    rules = yaml.safe_load((folder / "provisioning/influxdb-2/alerting.yml").read_text())
    for rule in rules["groups"][0]["rules"]:
        yield f"alert {rule['title']}", rule["data"][0]["model"]["query"]


def names(points, folder):
    """Measurements, fields and tags that Flux queries name and no point has."""
    for place, query in flux(folder):
        for part in query.split("from(bucket")[1:]:
            for measurement in re.findall(r'_measurement == "(\w+)"', part):
                if measurement not in points.tables:
                    yield f"{place}: no measurement {measurement}"
                    continue
                columns = points.tables[measurement].column_names
                wanted = re.findall(r'_field == "(\w+)"', part)
                wanted += re.findall(r"and r\.(\w+) (?:==|=~) (?:\"|/)", part)
                for name in set(wanted) - set(columns) - NOT_TOLD - {"_field", "_measurement"}:
                    yield f"{place}: no {name} in {measurement}"


def main():
    if datafusion.__version__.split(".")[0] != os.environ["RABTRACE_DATAFUSION"]:
        raise SystemExit(f"this is DataFusion {datafusion.__version__}, which was not asked for")
    points = Points(sys.argv[2])
    if sys.argv[1] == "--sql":
        print(json.dumps(points.rows(sys.stdin.read()), default=str))
        return 0
    folder = pathlib.Path(sys.argv[1])
    faults, queries = list(names(points, folder)), 0
    for path in sorted((folder / "dashboards/sql").glob("*.json")):
        dashboard = json.loads(path.read_text())
        faults += check(points, dashboard)
        queries += sum(len(panel["targets"]) for panel in dashboard["panels"])
    print("\n".join([*faults, f"{queries} queries, {len(faults)} faults"]))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
