# The targets set up everything that the project needs, except make and Python 3.11 to 3.14.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Test processes side by side. For half of their time tests wait, for a deadline or a process, so two
# cores carry five. Tests that share a stack run in one of them; these groups and long tests come first.
WORKERS ?= 5
# More arguments for pytest, as in: make test ARGS="tests/signedfor/store -k csv".
# For a test or two, plain pytest is quicker: .venv/bin/pytest path/to/test.py::name
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UV_PIP := VIRTUAL_ENV=$(VENV) $(BIN)/uv pip
OTHER_LOCKS := requirements.lock devtools/sandbox/requirements.lock .ci/requirements.lock
SOURCES := $(wildcard *.py .ci/*.py docs/*.py activities devtools examples ops signedfor tests webhook workflows)

.PHONY: help demo test test-unit coverage histories soak fuzz bench screenshots check audit sbom up cluster docs lock format clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY) ## Send six messages and a campaign on this machine (KEEP_RUNNING=1 keeps it running)
	@$(BIN)/python -m devtools.stack.demo

up: $(READY) ## Run the whole system on this machine until Ctrl-C, with a local Twilio
	@$(BIN)/python -m devtools.stack.up

cluster: $(READY) ## Run it with the Temporal server and PostgreSQL of the compose file (needs Go)
	@$(BIN)/python -m devtools.stack.cluster $(ARGS)

test: $(READY) ## Run every test (ARGS="tests/webhook -k stop" for some)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(ARGS)

test-unit: $(READY) ## Run the tests that need no server and no other process, in under a minute
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not integration" $(ARGS)

coverage: $(READY) ## Run every test and measure which lines and branches of the product they run
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --cov --cov-report=term:skip-covered $(ARGS)

histories: $(READY) ## Record again the histories that tests replay (ARGS="delivered ..." for some)
	$(BIN)/python -m tests.histories $(ARGS)

# For `make soak`, as in: make soak MESSAGES=1000 SEED=7
MESSAGES ?= 10000
SEED ?=
soak: $(READY) ## Send MESSAGES=10000 messages while every part fails; check the invariants
	$(BIN)/python -m tests.faults.soak --late-retries --messages $(MESSAGES) $(if $(SEED),--seed $(SEED)) \
		--report soak-report.json

SECONDS ?= 60
fuzz: $(READY) ## Give changed inputs to everything that is open, SECONDS=60 each (ARGS="keywords" for some)
	$(BIN)/python -m devtools.fuzz --seconds $(SECONDS) $(ARGS)

bench: $(READY) ## Run the benchmarks (ARGS="throughput --rounds 6" for some, or more rounds)
	$(BIN)/python -m devtools.bench --report bench-report.json $(ARGS)

screenshots: $(READY) ## Take the pictures in docs/images again (needs Chromium)
	$(BIN)/python -m devtools.screenshots

docs: $(READY) ## Build the documentation into build/docs; a dead link or an orphan page is an error
	$(BIN)/python -m sphinx -q -W --keep-going -E -b html docs build/docs

check: $(READY) ## Check format, lint, types, imports, secrets and locks
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(SOURCES)
	$(BIN)/lint-imports
	$(BIN)/python .ci/check_modules.py
	$(BIN)/hadolint Dockerfile
	.ci/find-secrets
	@# Both fail unless what is installed, which is requirements-dev.lock, satisfies everything.
	$(UV_PIP) install -q --dry-run --no-index -r pyproject.toml --all-extras --group dev
	$(UV_PIP) install -q --dry-run --no-index $(OTHER_LOCKS:%=-r %)

audit: $(READY) ## Look for known vulnerabilities of the locked packages (needs pypi.org)
	$(BIN)/python .ci/audit.py requirements.lock requirements-dev.lock

sbom: $(READY) ## Write a bill of materials of the image's Python packages to build/sbom.json (CycloneDX)
	@mkdir -p build
	$(BIN)/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --output-reproducible \
		--mc-type application --output-file build/sbom.json

format: $(READY) ## Format the code and apply the linter's fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Needs the package index, so it is not part of check. The other locks take their versions from
# requirements-dev.lock.
COMPILE := $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header
lock: $(READY) ## Update all lock files from pyproject.toml
	$(COMPILE) pyproject.toml --all-extras --group dev -o requirements-dev.lock
	$(COMPILE) pyproject.toml --all-extras -c requirements-dev.lock -o requirements.lock
	$(COMPILE) --group sandbox -c requirements-dev.lock -o devtools/sandbox/requirements.lock
	$(COMPILE) --group setup -c requirements-dev.lock -o .ci/requirements.lock

clean: ## Remove the virtual environment, caches, and all local data of `make up`
	rm -rf $(VENV) .data .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Once, and again when a lock or the project file changes. Every package comes with its hash from a
# lock: pip installs uv, uv everything else, and the project itself comes last, so that `signedfor` is
# a command. Until it is complete the environment has no .ready, and .ci/venv starts again.
$(READY): requirements-dev.lock .ci/requirements.lock pyproject.toml .ci/venv
	@.ci/venv $(VENV) $(PYTHON)
	@rm -f $@
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r .ci/requirements.lock
	$(UV_PIP) sync -q --require-hashes --compile-bytecode requirements-dev.lock
	$(UV_PIP) install -q --no-deps --no-build-isolation -e .
	@touch $@
