# Everything here works on a machine with only Python 3.11 and make: uv comes through pip when it is missing.
.DEFAULT_GOAL := help
.PHONY: help demo serve test check format lock openapi bench image-lint clean

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

help: ## Show these commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(STAMP): requirements-dev.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Grounds needs Python 3.11 ($(PYTHON) was not found; name another with make PYTHON=...)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@command -v uv >/dev/null || test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@echo "Setting up: installing the locked dependencies into $(VENV) ..."
	@uv=$$(command -v uv || echo $(BIN)/uv); \
	  VIRTUAL_ENV=$(abspath $(VENV)) $$uv pip sync --quiet --require-hashes requirements-dev.lock && \
	  VIRTUAL_ENV=$(abspath $(VENV)) $$uv pip install --quiet --no-deps --editable .
	@touch $@

demo: $(STAMP) ## Set up, train the demonstration model, start the service and show a decision with its reasons
	@$(BIN)/grounds demo

serve: $(STAMP) ## Start the service with the settings in the environment (GROUNDS_...)
	@$(BIN)/grounds serve

test: $(STAMP) ## Set up and pass the tests
	@$(BIN)/python -m pytest

check: $(STAMP) ## Format check, ruff, mypy, import rules, unused dependencies, Dockerfile, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/hadolint Dockerfile
	$(BIN)/python -m pytest

format: $(STAMP) ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

openapi: $(STAMP) ## Write openapi/openapi.yaml from the application
	$(BIN)/grounds openapi > openapi/openapi.yaml

bench: $(STAMP) ## Measure the service under load (needs wrk)
	$(BIN)/python -m benchmarks.load

lock: ## Resolve the dependencies anew into the two lock files (no registry address is written)
	uv pip compile --quiet --upgrade --python-version 3.11 --python-platform x86_64-manylinux_2_28 --generate-hashes --no-header \
	  --all-extras --group dev pyproject.toml --output-file requirements-dev.lock
	uv pip compile --quiet --python-version 3.11 --python-platform x86_64-manylinux_2_28 --generate-hashes --no-header \
	  --constraint requirements-dev.lock pyproject.toml --output-file requirements.lock

clean: ## Remove the environment and the demonstration's files
	rm -rf $(VENV) var
