#!/bin/sh
# Runs every fuzz target for so many seconds, 120 where nothing is said.
set -eu
cargo=${CARGO:-cargo}
export RABTRACE_FUZZ_SECONDS="${1:-120}"
$cargo test -p rabtrace --no-fail-fast --test fuzz --test spool -- --nocapture --test-threads=1 fuzz requests lines configurations every_request
$cargo test -p rabtrace-lapin --lib -- --nocapture fuzz
