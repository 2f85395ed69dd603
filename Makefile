# Two commands matter: `make demo` shows rabtrace at work, `make test` runs every test.
# Both install what they need; on Debian and Ubuntu from the distribution's packages.

CARGO ?= cargo
VENV := .venv

.PHONY: demo test test-matrix bench faults soak fuzz audit lint docs example grafana kubernetes reference screenshots install-broker install-bench install-tests

demo: install-broker
	$(CARGO) build --release --bin rabtrace
	scripts/demo.sh $(DEMO_FLAGS)

test: install-tests
	scripts/test.sh

# The monitor against RabbitMQ 4.0 and 4.3, in trees that debootstrap builds once (as root).
test-matrix: install-tests
	scripts/matrix.sh test

# Runs the benchmarks of docs/performance.md and writes it. `cargo bench --bench spool`, and encode and
# loss of rabtrace-otlp, print tables of their own.
bench: install-bench install-tests
	$(CARGO) bench -p rabtrace-lapin --bench cost --features bound-metrics
	$(CARGO) bench --features rabtrace-lapin/bound-metrics --bench publish_consume --bench otlp_ingest --bench line_protocol --bench store_insert --bench flow --bench monitor --bench delivery
	python3 scripts/performance.py

# Faults over the real program, each for minutes; `make soak` has the long forms.
faults: install-tests
	scripts/faults.sh minutes

soak: install-tests
	scripts/faults.sh soak

# Every fuzz target for two minutes, or for FUZZ_SECONDS.
fuzz:
	scripts/fuzz.sh $(FUZZ_SECONDS)

# Advisories, licences, bans and sources of the dependencies.
audit:
	scripts/audit.sh

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps

# Files that are made from the code, and that a test compares with it.
example:
	$(CARGO) run --quiet --bin rabtrace -- config example > rabtrace.example.toml.new
	mv rabtrace.example.toml.new rabtrace.example.toml

# The pictures of the README, of the real program on a real broker.
screenshots: install-tests
	$(CARGO) build --release --bin rabtrace
	$(VENV)/bin/python3 scripts/screenshots.py target/release/rabtrace docs/screenshots

# Pages of reference: docs/configuration.md, docs/measurements.md.
reference:
	UPDATE_EXPECT=1 $(CARGO) test -p rabtrace --lib reference

# Dashboards and alert rules, then the manifests, which have the rules.
grafana: install-tests
	$(VENV)/bin/node grafana/generate/main.mjs
	$(MAKE) kubernetes

kubernetes: install-tests
	$(VENV)/bin/python3 tests/real/kubernetes/render.py --plain deploy/helm/rabtrace deploy/kubernetes

install-broker:
	scripts/install.sh broker

install-bench:
	scripts/install.sh bench

install-tests:
	scripts/install.sh tests $(VENV)
