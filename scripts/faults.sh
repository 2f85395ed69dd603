#!/bin/sh
# Runs the faults: `minutes` what `make faults` runs, `soak` the long forms. Those over the whole
# agent need a release build; the others run as in the ordinary suite.
set -eu
cargo=${CARGO:-cargo}
case "${1:-}" in
minutes) broker_kills=20 path_messages=40000 ;;
soak) broker_kills=50 path_messages=1000000 ;;
*)
    echo "usage: $0 minutes | soak" >&2
    exit 2
    ;;
esac
failed=
export RABTRACE_TEST_FAULTS="$1"
$cargo test --profile bench -p rabtrace --test faults -- --test-threads=1 --nocapture || failed=yes
$cargo test -p rabtrace --test spool -- --nocapture || failed=yes
RABTRACE_TEST_BROKER_KILLS=$broker_kills RABTRACE_TEST_PATH_MESSAGES=$path_messages \
    $cargo test -p rabtrace --test real -- --nocapture --test-threads=1 kills counted durable kept || failed=yes
$cargo test -p rabtrace --test edges -- --nocapture stop:: || failed=yes
[ -z "$failed" ] || { echo "a fault did harm; see above" >&2; exit 1; }
