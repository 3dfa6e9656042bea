# Bramble on this machine: `make run` to try it, `make bench` to measure it, `make test` and `make lint` to work on it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: run bench test test-cluster test-arm64 lint format lock clean

run: $(VENV)/run.stamp ## a three-stage ring of the embedded model, chat page on http://localhost:8080
	$(BIN)/bramble run $(ARGS)

bench: $(VENV)/run.stamp ## beside onnxruntime alone and llama.cpp; ARGS="--shape qwen2.5-0.5b --quick"
	$(BIN)/python -m tests.bench $(ARGS)

test: $(VENV)/dev.stamp ## all tests but those below; TESTS=tests/wire for some
	$(BIN)/pytest -c service/pyproject.toml --ignore tests/cluster $(TESTS)

test-cluster: $(VENV)/dev.stamp ## three booted hosts from nothing to an answer, and a cluster's whole life; as root
	$(BIN)/pytest -c service/pyproject.toml -x tests/cluster

test-arm64: $(VENV)/dev.stamp ## aarch64 against x86 under emulation; as root, about 3 minutes
	$(BIN)/pytest -c service/pyproject.toml -s tests/arm64/proof.py

lint: $(VENV)/dev.stamp
	$(BIN)/ruff format --config service/pyproject.toml --check service tests
	$(BIN)/ruff check --config service/pyproject.toml service tests
	$(BIN)/mypy --config-file service/pyproject.toml
	$(BIN)/yamllint --strict .
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/ansible-lint -q ansible roles

format: $(VENV)/dev.stamp
	$(BIN)/ruff format --config service/pyproject.toml service tests
	$(BIN)/ruff check --config service/pyproject.toml --fix service tests

lock: $(VENV)/dev.stamp ## after a change of dependencies in service/pyproject.toml
	cd service && ../$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate -q -o requirements.lock
	cd service && ../$(BIN)/uv pip compile pyproject.toml --extra dev --universal \
		--python-version 3.11 --generate-hashes --no-header --no-annotate -q -o requirements-dev.lock

clean:
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
