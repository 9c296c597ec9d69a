# Everything that Trident is built, run and tested with. `make help` lists the targets.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
AUDIT := .cache/audit
# A file of tests goes to one process or the other as a whole. Live tests want the machine for themselves.
SIDE_BY_SIDE := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

# Nothing may leave a __pycache__ in the model repository: Triton takes it for a change of the model.
export PYTHONDONTWRITEBYTECODE := 1

.DEFAULT_GOAL := help
.PHONY: help install demo serve export export-all quality fusion-gain load load-ui latency-curve where-time-goes bench-floor bench-peers lock-peers bench-swap bench-overload bench-scaling chaos soak results test stress fuzz audit unit check format lock clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## make .venv with the pinned dependencies

$(INSTALLED): pyproject.toml requirements/lock.txt requirements/server.txt
	@command -v $(PYTHON) >/dev/null || { echo "Trident needs Python 3.11: $(PYTHON) is not on PATH (set PYTHON=…)" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --requirement requirements/lock.txt
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --requirement requirements/server.txt
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --editable .
	@# Once and for all: by the variable above no process would do it for the next one.
	$(BIN)/python -m compileall -q trident client/trident_client export benchmarks
	@touch $@

export: $(INSTALLED) ## fetch, verify and convert the networks (first version of each)
	$(BIN)/python -m export

export-all: $(INSTALLED) ## the same for every version of every network
	$(BIN)/python -m export --all

demo: export ## analyse four photos with a server of its own; results in demo_output/
	$(BIN)/python -m trident.demo

serve: export ## serve the ensemble in the foreground, gRPC on 127.0.0.1:8001
	$(BIN)/trident serve

.PHONY: data-is-given
data-is-given:
	@test -n "$(DATA)" || { echo "Say where the labelled pictures are: make $(or $(firstword $(MAKECMDGOALS)),quality) DATA=folder" >&2; exit 2; }

quality: | data-is-given export ## measure the served quality, with a report: make quality DATA=folder [URL=host:port] [COMPARE=classifier=2]
	$(BIN)/python -m benchmarks.quality --data "$(DATA)" $(if $(URL),--url "$(URL)") $(foreach one,$(COMPARE),--compare "$(one)")

fusion-gain: | data-is-given export ## what fusion gains, part by part: make fusion-gain DATA=folder [URL=host:port]
	$(BIN)/python -m benchmarks.fusion_gain --data "$(DATA)" $(if $(URL),--url "$(URL)")

load: export ## users of locust for two minutes: make load [URL=host:port]; report in benchmarks/reports/
	$(BIN)/python -m benchmarks.locust_load $(if $(URL),--url "$(URL)")

load-ui: export ## locust's web page on 127.0.0.1:8089, until Ctrl-C: make load-ui [URL=host:port]
	$(BIN)/python -m benchmarks.locust_load --ui $(if $(URL),--url "$(URL)")

latency-curve: export ## latency percentiles against offered load, up to saturation; report in benchmarks/reports/
	$(BIN)/python -m benchmarks.latency_curve

where-time-goes: export ## where the time of a request goes, by component; report in benchmarks/reports/
	$(BIN)/python -m benchmarks.time_spent

bench-floor: export ## the served ensemble as a ratio of the same work in one process; report in benchmarks/reports/
	$(BIN)/python -m benchmarks.floor

bench-peers: export ## the same work behind other servers: make bench-peers [PEER=litserve]
	$(BIN)/python -m benchmarks.peers $(PEER)

lock-peers: $(INSTALLED) ## renew the pins of the peers' environments
	cd benchmarks/peers && for file in */requirements.in; do \
		../../$(BIN)/pip-compile --quiet --no-header --strip-extras --annotation-style=line --no-emit-index-url \
			--no-emit-find-links --no-emit-trusted-host --output-file "$${file%.in}.txt" "$$file" || exit 1; done

bench-swap: export-all ## swap every component back and forth under load; report in benchmarks/reports/
	$(BIN)/python -m benchmarks.swaps

bench-overload: export ## more load than the server can carry, and clients that vanish; report in benchmarks/reports/
	$(BIN)/python -m benchmarks.overload

chaos: export ## faults at random under load for a quarter of an hour: make chaos [SECONDS=300] [KINDS=kill,hang]; report in benchmarks/reports/
	$(BIN)/python -m benchmarks.chaos $(if $(SECONDS),--seconds "$(SECONDS)") $(if $(KINDS),--kinds "$(KINDS)")

soak: export ## an hour of mixed load on a server, and whether it grows: make soak [SECONDS=1200]; report in benchmarks/reports/
	$(BIN)/python -m benchmarks.soak $(if $(SECONDS),--seconds "$(SECONDS)")

bench-scaling: export ## how throughput grows with cores and servers, and what limits it; report in benchmarks/reports/
	$(BIN)/python -m benchmarks.scaling

results: $(INSTALLED) ## write benchmarks/RESULTS.md out of the newest report of each benchmark
	$(BIN)/python -m benchmarks.results

test: export-all ## everything the tests need, then all tests but those of make stress
	$(SIDE_BY_SIDE) tests/contract tests/fuzz tests/unit
	$(BIN)/python -m pytest tests/live

stress: export-all ## the live tests of faults and load that make test leaves out
	$(BIN)/python -m pytest -m stress tests/live

fuzz: $(INSTALLED) ## coverage-guided fuzzing, ten minutes a target: make fuzz [SECONDS=60] [TARGET=decode]
	$(BIN)/python -m tests.fuzz run $(TARGET) $(if $(SECONDS),--seconds "$(SECONDS)")

audit: $(INSTALLED) ## ask which pinned packages have known vulnerabilities; needs a network
	@test -x $(AUDIT)/bin/pip-audit || { $(PYTHON) -m venv $(AUDIT) && \
		$(AUDIT)/bin/python -m pip install --disable-pip-version-check --quiet --requirement requirements/audit.txt; }
	$(BIN)/python requirements/audit.py $(AUDIT)/bin/pip-audit requirements/lock.txt requirements/server.txt

unit: $(INSTALLED) ## the tests that need neither networks nor a server
	$(SIDE_BY_SIDE) tests/unit

check: $(INSTALLED) ## lint, format check and strict typing; rewrites nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED) ## rewrite the sources in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## renew requirements/lock.txt from pyproject.toml
	$(BIN)/pip-compile --quiet --no-header --strip-extras --annotation-style=line \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
		$(addprefix --extra ,serve export bench postgres dev) --output-file requirements/lock.txt pyproject.toml
	@# The CPU build's own version suffix would tie the lock to one index.
	sed -i -e 's/^\(torch==[0-9.]*\)+cpu/\1/' \
		-e '1i # Made by `make lock`. numpy stays at 1.26: the bundled Triton reads BYTES wrongly under numpy 2.' requirements/lock.txt
	$(BIN)/pip-compile --quiet --no-header --strip-extras --annotation-style=line --no-emit-index-url \
		--no-emit-find-links --no-emit-trusted-host --output-file requirements/audit.txt requirements/audit.in

clean: ## remove .venv and what was built; your own networks, the reports of benchmarks and the cache stay
	rm -rf $(VENV) demo_output rollout_reports export/reports build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@# Networks that were brought in by `export.own` are not ours to delete.
	@grep -Ls '"own"' model_repository/*/*/model.json | while read -r record; do rm -f "$$record" "$${record%.json}.onnx"; done
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find model_repository -mindepth 2 -type d -empty -delete
