# Two commands matter: `make demo` shows rabtrace at work, `make test` runs every test.
# Both install what they need; on Debian and Ubuntu from the distribution's packages.

CARGO ?= cargo
VENV := .venv

.PHONY: demo test test-matrix bench lint docs example install-broker install-bench install-tests

demo: install-broker
	$(CARGO) build --release --bin rabtrace
	scripts/demo.sh $(DEMO_FLAGS)

test: install-tests
	scripts/test.sh

# The monitor against RabbitMQ 4.0 and 4.3, in trees that debootstrap builds once (as root).
test-matrix: install-tests
	scripts/matrix.sh test

# Runs every benchmark and writes docs/performance.md.
bench: install-bench
	$(CARGO) bench -p rabtrace-lapin --bench cost --features bound-metrics
	$(CARGO) bench --features rabtrace-lapin/bound-metrics --bench publish_consume --bench otlp_ingest --bench line_protocol --bench store_insert --bench flow --bench monitor
	python3 scripts/performance.py

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps

# Files that are made from the code, and that a test compares with it.
example:
	$(CARGO) run --quiet --bin rabtrace -- config example > rabtrace.example.toml.new
	mv rabtrace.example.toml.new rabtrace.example.toml

install-broker:
	scripts/install.sh broker

install-bench:
	scripts/install.sh bench

install-tests:
	scripts/install.sh tests $(VENV)
