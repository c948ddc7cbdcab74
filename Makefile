# Everything here works on a machine with only Python 3.11 and make: uv comes through pip when it is missing.
.DEFAULT_GOAL := help
.PHONY: help demo serve test check format lock openapi bench bench-peers prometheus assets screenshots clean

PYTHON ?= python3.11
VENV := .venv
UV_DIR := .uv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
NODE_DIR := .tools/node
NPM = $$(command -v npm || echo $(NODE_DIR)/bin/npm)
MODULES := node_modules/.installed
ASSETS := app/web/assets/manifest.json
# A process for each core, up to four: one takes up to a gigabyte, beside the services and the browser that
# it starts. `make test PROCESSES=0` runs them in one.
PROCESSES ?= logical
PYTEST = $(BIN)/python -m pytest -n $(PROCESSES) --maxprocesses 4

help: ## Show these commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

# uv makes the environment: Debian's Python can do so only with a further package. It comes through
# pip into a folder of its own when the machine has none, because a synced environment would lose it.
$(STAMP): requirements-dev.lock pyproject.toml | $(ASSETS)
	@command -v $(PYTHON) >/dev/null || { echo "Grounds needs Python 3.11: $(PYTHON) was not found (name another with make PYTHON=...)"; exit 1; }
	@command -v uv >/dev/null || test -x $(UV_DIR)/bin/uv || \
	  $(PYTHON) -m pip install --quiet --root-user-action=ignore --disable-pip-version-check --target $(UV_DIR) uv
	@echo "Installing the locked dependencies into $(VENV) (the first time takes about a minute) ..."
	@uv=$$(command -v uv || echo $(UV_DIR)/bin/uv); export VIRTUAL_ENV=$(abspath $(VENV)); \
	  { test -x $(BIN)/python || $$uv venv --quiet --python $(PYTHON) $(VENV); } && \
	  $$uv pip sync --quiet --compile-bytecode --require-hashes requirements-dev.lock && \
	  $$uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# The pages' styles and scripts come from npm; a machine without npm gets Node from PyPI, in a folder
# of its own. What is there already is not fetched again.
$(MODULES): package-lock.json
	@command -v $(PYTHON) >/dev/null || { echo "Grounds needs Python 3.11: $(PYTHON) was not found (name another with make PYTHON=...)"; exit 1; }
	@command -v npm >/dev/null || test -x $(NODE_DIR)/bin/npm || deploy/get-node.sh $(PYTHON) $(NODE_DIR)
	@echo "Installing what the pages' styles are made of (GOV.UK Frontend, from npm) ..."
	@PATH="$$PATH:$(abspath $(NODE_DIR))/bin" $(NPM) ci --silent || \
	  { echo "npm could not install the locked packages: is its registry reachable? Once installed, no network is needed again."; exit 1; }
	@touch $@

$(ASSETS): $(MODULES) app/web/build.js $(wildcard app/web/styles/* app/web/scripts/* app/web/static/*)
	@PATH="$$PATH:$(abspath $(NODE_DIR))/bin" $(NPM) run --silent build

assets: $(ASSETS) ## Compile the pages' styles and scripts into app/web/assets

demo: $(STAMP) $(ASSETS) ## Set up, train the demonstration model, start the service and show a decision with its reasons
	@$(BIN)/grounds demo

serve: $(STAMP) $(ASSETS) ## Start the service with the settings in the environment (GROUNDS_...)
	@$(BIN)/grounds serve

test: $(STAMP) $(ASSETS) ## Set up and pass the tests
	@deploy/get-chromium.sh || echo "Chromium could not be installed: the browser tests are skipped"
	@deploy/prometheus/get.sh || echo "Prometheus could not be fetched: the tests of rules and alerts are skipped"
	@$(PYTEST)

check: $(STAMP) $(ASSETS) ## Format check, ruff, mypy, import rules, unused dependencies, Dockerfile, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/hadolint Dockerfile
	$(PYTEST)

prometheus: ## Fetch Prometheus (Debian's package, unpacked under .tools) for the tests of rules and alerts
	@deploy/prometheus/get.sh

format: $(STAMP) ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

screenshots: $(STAMP) $(ASSETS) ## Take pictures of every page, on a desktop and a phone, into var/screenshots
	@$(BIN)/python -m tests.browser.screenshots

openapi: $(STAMP) ## Write openapi/openapi.yaml from the application
	$(BIN)/grounds openapi > openapi/openapi.yaml

bench-peers: $(STAMP) ## Make the environments of the peers that `make bench` compares with (once, some minutes)
	$(BIN)/python -m benchmarks.environments

bench: $(STAMP) ## Compare the service with its floor and its peers, in about 13 minutes (needs wrk)
	$(BIN)/python -m benchmarks.compare

lock: ## Resolve the dependencies anew into the two lock files (no registry address is written)
	uv pip compile --quiet --upgrade --python-version 3.11 --python-platform x86_64-manylinux_2_28 --generate-hashes --no-header \
	  --all-extras --group dev pyproject.toml --output-file requirements-dev.lock
	uv pip compile --quiet --python-version 3.11 --python-platform x86_64-manylinux_2_28 --generate-hashes --no-header \
	  --constraint requirements-dev.lock pyproject.toml --output-file requirements.lock

clean: ## Remove the environment, the compiled kernels and the demonstration's files
	rm -rf $(VENV) $(UV_DIR) .tools node_modules app/web/assets var
	find app models explainers audit tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
