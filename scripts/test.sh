#!/bin/sh
# Runs every test: with cargo-nextest where it is installed, else with cargo test.
set -eu
cargo=${CARGO:-cargo}
if $cargo nextest --version >/dev/null 2>&1; then
    $cargo nextest run --workspace --no-fail-fast
    $cargo test --workspace --doc
else
    $cargo test --workspace
fi
# Metrics again, through the bound instruments that the feature switches on.
$cargo test -p rabtrace-lapin --features bound-metrics --lib metrics
echo "note: RabbitMQ 4.0 and 4.3 were not tested; \`make test-matrix\` does, and builds what it needs" >&2
if [ -z "${RABTRACE_STACK:-}" ]; then
    echo "note: the tests against the compose stack did not run; set RABTRACE_STACK=1 once it is up" >&2
fi
