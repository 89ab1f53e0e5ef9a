# Two commands: `make demo` shows the system at work, `make test` proves it. Both set everything up.

TARGET := $(or $(CARGO_TARGET_DIR),target)

.PHONY: demo test build setup lint docs api-test bench deny python wheel mutations chaos faults cgroup-v2 monitor monitor-test dashboards clean

# INPUT=path transcodes a file of yours instead of a generated one.
demo: setup
	cargo build --release --quiet
	"$(TARGET)/release/ffrtmp" demo $(if $(INPUT),--input "$(INPUT)")

test: setup
	cargo build --workspace --features gstreamer
	cargo test --workspace --features gstreamer
	$(MAKE) --no-print-directory python api-test monitor-test

build: setup
	cargo build --release

setup:
	@scripts/setup.sh

lint: setup
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --workspace --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --all-features

# The running master against its own OpenAPI document.
api-test: setup
	cargo build
	tests/schemathesis.sh "$(TARGET)/debug/ffrtmp-master"

# The Python package, built and imported in an environment of its own.
python: setup
	scripts/python-test.sh

# A wheel with FFmpeg's libraries and the programs in it, tried where the system's libraries are hidden.
wheel: setup
	scripts/python-wheel.sh

bench: setup
	cargo bench --workspace

# Damaged media, ten times as many as `make test` tries. COUNT=100000 for more.
mutations: setup
	FFRTMP_MUTATIONS="$(or $(COUNT),10000)" cargo test -p ffrtmp-engines --test libav -- --nocapture mutations::

# Two masters, four agents and their database, killed, stopped and frozen at random under load.
# MINUTES=5 is the default; SEED=number repeats the blows of a run.
chaos: setup
	cargo build --workspace
	FFRTMP_CHAOS_SECONDS=$$(( $(or $(MINUTES),5) * 60 )) $(if $(SEED),FFRTMP_CHAOS_SEED=$(SEED)) \
		cargo test --package ffrtmp --test chaos -- --nocapture

# The tests of control groups on a machine with version 2 alone, under qemu: minutes without KVM.
cgroup-v2: setup
	scripts/cgroup-v2/run

# Hostile and runaway work through the real programs, as a table of pass and fail. ATTEMPTS=1000 in a
# row is the default; ROW=word runs the rows whose names hold it.
faults: setup
	cargo build --workspace
	FFRTMP_FAULTS_ATTEMPTS=$(or $(ATTEMPTS),1000) $(if $(ROW),FFRTMP_FAULTS="$(ROW)") \
		cargo test --package ffrtmp --test faults -- --nocapture

# A cluster with Prometheus and Alertmanager, without containers, until Ctrl-C.
monitor: setup
	cargo build --workspace --features gstreamer
	scripts/monitor.sh farm "$(TARGET)/debug"

# Every panel of every dashboard has data and every alert fires and ends, on a farm that is real.
monitor-test: setup
	cargo build --workspace --features gstreamer
	scripts/monitor.sh proof "$(TARGET)/debug"

# The JSON that Grafana reads, from its source in deploy/grafana/source.
dashboards: setup
	scripts/monitor.sh dashboards

deny:
	cargo deny check

clean:
	cargo clean
