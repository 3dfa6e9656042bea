# Bramble on this machine: `make` lists the targets, `make run` tries it, `make check` tests it in a minute.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PYTEST := $(BIN)/pytest -c service/pyproject.toml
# Tests that start no ring and need neither root nor another machine, in halves for two cores; what
# waits for real connections to time out, or for Ansible, is left to `make test`
CHECKED_FIRST := tests/chaos/test_checker.py tests/chaos/test_nemesis.py tests/head tests/plan tests/stage/test_arena.py tests/stage/test_golden_models.py tests/stage/test_sampler.py \
	tests/export/test_quantize.py tests/export/test_safetensors.py tests/bench tests/fuzz tests/wire
CLIENTS := $(addprefix tests/clients/,newest held_back home_assistant)
SLOW := %/test_slow_clients.py %/test_clients_that_leave.py %/test_fetch.py %/test_strategy.py %/test_vagrant.py
CHECKED_SECOND := $(filter-out $(SLOW),$(wildcard tests/model/test_*.py tests/web/test_*.py tests/test_*.py)) tests/doctor

.PHONY: help run bench check test chaos chaos-hosts test-clients test-index test-cluster test-arm64 count fuzz lint format lock sbom clean

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r target text; do \
		printf 'make %-13s %s\n' "$$target" "$$text"; done

run: $(VENV)/run.stamp ## start a three-stage ring of the embedded model, chat page on http://localhost:8080; ARGS="--port 9000"
	$(BIN)/bramble run $(ARGS)

bench: $(VENV)/run.stamp ## measure Bramble beside onnxruntime alone and llama.cpp; ARGS="--shape qwen2.5-0.5b --quick"
	$(BIN)/python -m tests.bench $(ARGS)

check: $(VENV)/dev.stamp ## run the tests that take a minute and need no network, no root and no ring
	@echo "two halves side by side, a minute or less on two cores …"
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target check-first check-second

.PHONY: check-first check-second
check-first:
	@$(PYTEST) --quiet -p tests.alone --durations 3 $(CHECKED_FIRST)

check-second:
	@$(PYTEST) --quiet -p tests.alone --durations 3 $(CHECKED_SECOND)

test: $(VENV)/dev.stamp ## run all tests of one machine; TESTS=tests/wire for some of them
	$(PYTEST) --ignore tests/cluster --ignore tests/index --ignore tests/clients $(TESTS)

chaos: $(VENV)/dev.stamp ## break a ring many times under load and judge every reply; ARGS="--faults 1000 --seed 1 --weights int4"
	$(BIN)/python -m tests.chaos $(ARGS)

chaos-hosts: $(VENV)/dev.stamp ## cut cables and pull plugs of three booted hosts, and judge every reply; as root; ARGS="--minutes 30"
	$(BIN)/python -m tests.chaos.hosts $(ARGS)

test-clients: $(VENV)/clients.stamp ## ask the API through other people's clients: openai, ollama, langchain and more
	$(PYTEST) tests/clients

test-index: $(VENV)/dev.stamp ## ask the package index whether all Pythons of a Pi find wheels for the lock
	$(PYTEST) tests/index

test-cluster: $(VENV)/dev.stamp ## boot three hosts and take a cluster through its life; as root
	$(PYTEST) -x tests/cluster

test-arm64: $(VENV)/dev.stamp ## compare aarch64 with x86-64 under emulation; as root, about 3 minutes
	$(PYTEST) -s tests/arm64/proof.py

count: $(VENV)/dev.stamp ## count what a token executes on a Pi, under emulation; as root; ARGS="--quant int4-64"
	$(BIN)/python -m tests.count $(ARGS)

fuzz: $(VENV)/fuzz.stamp ## feed what reads bytes with bytes, as coverage leads; TARGET="wire", SECONDS_EACH=600
	for target in $(or $(TARGET),$$($(BIN)/python -m tests.fuzz --list)); do \
		$(BIN)/python -m tests.fuzz $$target --seconds $(or $(SECONDS_EACH),600) || exit 1; done

lint: $(VENV)/dev.stamp ## check format, types, YAML and plays
	$(BIN)/ruff format --config service/pyproject.toml --check service tests
	$(BIN)/ruff check --config service/pyproject.toml service tests
	$(BIN)/mypy --config-file service/pyproject.toml
	$(BIN)/yamllint --strict .
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/ansible-lint -q ansible roles

format: $(VENV)/dev.stamp ## format the Python files
	$(BIN)/ruff format --config service/pyproject.toml service tests
	$(BIN)/ruff check --config service/pyproject.toml --fix service tests

lock: $(VENV)/dev.stamp ## write the locks again, after a change of dependencies in service/pyproject.toml
	cd service && ../$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate -q -o requirements.lock
	cd service && ../$(BIN)/uv pip compile pyproject.toml --extra dev --universal \
		--python-version 3.11 --generate-hashes --no-header --no-annotate -q -o requirements-dev.lock
	for folder in $(CLIENTS); do $(BIN)/uv pip compile $$folder/requirements.in --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate -q -o $$folder/requirements.lock || exit 1; done

sbom: $(VENV)/dev.stamp ## list all that a node runs of others' software, in build/bramble.cdx.json
	$(BIN)/python service/sbom.py build/bramble.cdx.json

clean: ## remove the virtual environment
	rm -rf $(VENV)

$(VENV)/run.stamp: service/requirements.lock service/pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "python3 is missing: apt install python3 python3-venv"; exit 1; }
	@test -x $(BIN)/python || { echo "creating $(VENV) …"; $(PYTHON) -m venv $(VENV); }
	@echo "installing what requirements.lock names …"
	@$(PIP) install --require-hashes -r service/requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable service
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp service/requirements-dev.lock
	@$(PIP) install --require-hashes -r service/requirements-dev.lock
	@touch $@

# Each in an environment of its own: some need older versions of what others bring
$(VENV)/clients.stamp: $(VENV)/dev.stamp $(addsuffix /requirements.lock,$(CLIENTS)) tests/clients/node/package-lock.json
	@echo "installing clients of the API …"
	@for folder in $(CLIENTS); do \
		place=$(VENV)/clients/$${folder##*/} && $(BIN)/uv venv --quiet --clear --python $(BIN)/python $$place && \
		$(BIN)/uv pip install --quiet --python $$place --require-hashes -r $$folder/requirements.lock || exit 1; done
	@PATH="$(CURDIR)/$(VENV)/clients/newest/bin:$$PATH" npm ci --silent --no-audit --no-fund --ignore-scripts --prefix tests/clients/node
	@touch $@

$(VENV)/fuzz.stamp: $(VENV)/dev.stamp
	@$(PIP) install --editable 'service[fuzz]' --no-build-isolation
	@touch $@
