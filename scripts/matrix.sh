#!/bin/sh
# Tests the monitor against other versions of RabbitMQ than this system's: those of later releases
# of Debian, each in a tree of its own that debootstrap builds once, as root.
#
#   scripts/matrix.sh trees            builds the trees that are not there yet
#   scripts/matrix.sh test [FILTER]    the same, then runs the tests on each version
#
# The trees are in $RABTRACE_MATRIX (~/.cache/rabtrace-matrix), 400 MB each. A tree is entered in a
# mount namespace of its own: outside of it nothing of this system is ever mounted there.
set -eu
releases="trixie sid"
folder=${RABTRACE_MATRIX:-$HOME/.cache/rabtrace-matrix}
# What there is to see of another version: the monitor, the broker, and what the library publishes,
# settles, gets back and loses.
filter=${2:-"binary(real) and test(/^(monitor|broker|lapin::(publish|returns|settle|multiple|lost))::/)"}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

# The Debian archive that this system itself installs from.
mirror() {
    sources=$(apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages')
    echo "$sources" | sed -n 's/^Debian //p' | head -n 1
}

is_mounted_into() {
    grep -q " $1/" /proc/self/mountinfo
}

tree() {
    release=$1
    tree=$folder/$release
    [ ! -d "$tree" ] || return 0
    command -v debootstrap >/dev/null || {
        echo "installing debootstrap" >&2
        as_root apt-get update -qq
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends debootstrap >/dev/null
    }
    from=$(mirror)
    if [ -z "$from" ]; then
        echo "error: no source of Debian's packages in this system's apt sources" >&2
        echo "  fix    build the trees on Debian, or put others into $folder/{trixie,sid}" >&2
        exit 1
    fi
    echo "building $tree" >&2
    # What an attempt that was cut short left: it goes only if nothing is mounted there.
    if [ -d "$tree.new" ]; then
        if is_mounted_into "$tree.new"; then
            echo "error: something is mounted below $tree.new" >&2
            echo "  fix    unmount it (grep $tree.new /proc/self/mountinfo), then begin again" >&2
            exit 1
        fi
        as_root rm -rf --one-file-system "$tree.new"
    fi
    mkdir -p "$folder"
    log=$folder/$release.log
    if ! as_root debootstrap --variant=minbase --include=rabbitmq-server "$release" "$tree.new" "$from" >"$log" 2>&1; then
        tail -n 5 "$log" >&2
        echo "error: debootstrap failed; the rest is in $log" >&2
        exit 1
    fi
    # Nodes are named after localhost, which a minimal tree does not know.
    printf '127.0.0.1 localhost\n::1 localhost\n' | as_root tee "$tree.new/etc/hosts" >/dev/null
    as_root rm -rf "$tree.new/var/cache/apt/archives"
    as_root mv "$tree.new" "$tree"
}

trees() {
    for release in $releases; do tree "$release"; done
}

run() {
    failed=
    for release in $releases; do
        version=$(ls "$folder/$release/usr/lib/rabbitmq/lib" | sed 's/^rabbitmq_server-//')
        echo "RabbitMQ $version" >&2
        RABTRACE_TEST_BROKER_TREE=$folder/$release ${CARGO:-cargo} nextest run --no-fail-fast -p rabtrace --test real -E "$filter" ||
            failed="$failed $version"
    done
    [ -z "$failed" ] || {
        echo "error: tests failed on RabbitMQ$failed" >&2
        exit 1
    }
}

case "${1:-}" in
trees) trees ;;
test)
    trees
    run
    ;;
*)
    echo "usage: $0 trees | test [FILTER]" >&2
    exit 2
    ;;
esac
