#!/bin/sh
# Runs the demo: on a RabbitMQ of this machine, else on one in Docker.
set -eu
rabtrace=target/release/rabtrace

if command -v rabbitmq-server >/dev/null 2>&1 || ls -d /usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin >/dev/null 2>&1; then
    exec $rabtrace demo "$@"
fi

name=rabtrace-demo-$$
trap 'docker rm -f "$name" >/dev/null 2>&1' EXIT INT TERM
docker run -d --name "$name" -p 127.0.0.1::5672 -p 127.0.0.1::15672 -p 127.0.0.1::15692 \
    rabbitmq:4.0-management >/dev/null
port() { docker port "$name" "$1/tcp" | head -n 1 | sed 's/.*://'; }
echo "waiting for the broker in Docker" >&2
docker exec "$name" rabbitmqctl await_startup --timeout 60 >/dev/null
export RABTRACE_MANAGEMENT_URL="http://127.0.0.1:$(port 15672)"
export RABTRACE_PROMETHEUS_URLS="http://127.0.0.1:$(port 15692)"
$rabtrace demo --amqp "amqp://guest:guest@127.0.0.1:$(port 5672)" "$@"
