#!/bin/sh
# Makes what the long windows need in InfluxDB 2: two buckets beside the raw one, and the tasks that
# fill them. Run by the container at its first start; elsewhere: INFLUX_ORG=… INFLUX_TOKEN=… sh setup.sh
set -eu
org=${DOCKER_INFLUXDB_INIT_ORG:-${INFLUX_ORG:?}}
raw=${DOCKER_INFLUXDB_INIT_BUCKET:-${INFLUX_BUCKET:-rabtrace}}
token=${DOCKER_INFLUXDB_INIT_ADMIN_TOKEN:-${INFLUX_TOKEN:?}}
tasks=${TASKS:-/tasks}

influx bucket create --org "$org" --token "$token" --name "${raw}_10s" --retention 30d
influx bucket create --org "$org" --token "$token" --name "${raw}_5m" --retention 365d
for file in "$tasks"/*.flux; do
    # The tasks name the bucket `rabtrace`.
    escaped=$(printf '%s' "$raw" | sed 's/[&|\\]/\\&/g')
    sed "s|bucket: \"rabtrace|bucket: \"$escaped|" "$file" > /tmp/task.flux
    influx task create --org "$org" --token "$token" --file /tmp/task.flux
done
rm -f /tmp/task.flux
