# Needs Python 3.11 or newer, pip and make; installs everything else, locked, into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LOWEST := .venv-lowest
LOWEST_PYTHON ?= $(or $(shell command -v python3.11),$(PYTHON))
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' reconciler/__init__.py)
COMPILE := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --quiet

# Where `make lint` looks for rejected words.
PROSE := --include=*.py --include=*.md --include=*.toml --include=*.yml --include=*.yaml --include=*.ini \
	reconciler tests alembic benchmarks examples deploy docs Makefile Dockerfile docker-compose.yml $(wildcard *.md)

SUITE := $(BIN)/pytest -n 4 --dist worksteal
# Each worker, forked command and workflow sandbox imports the same modules again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test test-stress test-lowest test-pythons test-unit test-containers test-soak test-properties bench bench-quick image docs screenshots browser lint format lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(STAMP) ## Run a sample application on an embedded Temporal and PostgreSQL
	@$(BIN)/reconciler demo

test: $(STAMP) browser ## Run all tests, on real servers
	$(SUITE)

screenshots: $(STAMP) browser ## Write docs/images: the page of the demo (three minutes)
	$(BIN)/python -m tests.support.page.screenshots

# Without a browser the tests of the page fail.
browser: ## Install Chromium for the tests of the page, where apt exists and no such browser does
	@for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null && exit 0; done; \
		echo "Installing Chromium: a minute or two, the first time."; \
		{ apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium; } >/dev/null 2>&1 || \
		echo "Chromium could not be installed: tests/browser will fail."

# No test may depend on the speed of the machine. Only those can that start processes or follow workflows,
# and of the others those whose file waits for something, or has two things going on at once. The rest, half
# of all tests, only computes, or sends one statement after the other. The variants of a test wait for the
# same things, so one of them is enough, except in tests/acceptance.
ONE_BY_ONE := tests/unit tests/integration/doctor tests/integration/postgres
WAITS := asyncio\.|eventually|deadline\(|sleep|time_?out|[Tt]hread|subprocess|steady|monotonic|perf_counter
test-stress: $(STAMP) browser ## Run the tests that time can matter to, next to a busy loop on each core (PART=1/4 of them)
	$(BIN)/python tests/support/commands/busy.py $(SUITE) --one-variant --part $(or $(PART),1/1) examples \
		$$(find tests -name 'test_*.py' $(ONE_BY_ONE:%=-not -path '%/*')) \
		$$(grep -rliE '$(WAITS)' $(ONE_BY_ONE) --include='test_*.py')

# The oldest versions that pyproject.toml allows, in an environment of their own. They warn about newer
# Pythons and about each other. The core and the pass use no package whose version could matter.
test-lowest: $(LOWEST)/.installed ## Run unit, contract, worker and connection tests on the oldest supported versions
	$(LOWEST)/bin/pytest -n 4 --dist worksteal -W ignore::DeprecationWarning -W ignore::PendingDeprecationWarning \
		-m "not soak and not recent_sdk" \
		--ignore=tests/unit/core --ignore=tests/unit/passes \
		tests/unit tests/contract tests/integration/worker tests/integration/postgres/connection

test-pythons: ## Run the tests that need no server on each Python that is installed, 3.11 to 3.14
	@for version in 3.11 3.12 3.13 3.14; do \
		if python$$version -c "" 2>/dev/null; then \
			echo "Python $$version:"; \
			$(MAKE) --no-print-directory PYTHON=python$$version VENV=.venv-$$version test-unit || exit 1; \
		else \
			echo "Python $$version: not installed, so not tested"; \
		fi; \
	done

test-unit: $(STAMP) ## Run the tests that need no server (a minute or two)
	$(BIN)/pytest tests/unit

# Each worker has its own containers. The first run also pulls the images.
test-containers: $(STAMP) ## Run the integration tests on servers in containers
	$(BIN)/pytest --servers=containers -n 2 --dist worksteal tests/contract tests/integration

test-soak: $(STAMP) ## Kill servers and daemons, set clocks, delay visibility, refuse writes (SECONDS=180)
	RECONCILER_TEST_SOAK_SECONDS=$(or $(SECONDS),180) $(BIN)/pytest -m soak -s tests/soak tests/acceptance

test-properties: $(STAMP) ## Run the property tests on many random examples (TIMES=100 those of make test)
	HYPOTHESIS_PROFILE=long RECONCILER_TEST_TIMES=$(or $(TIMES),100) $(BIN)/pytest -m hypothesis --timeout=0 -n 4 --dist worksteal

bench: $(STAMP) ## Measure speed, calls and memory; write docs/benchmarks.md (a quarter of an hour)
	$(BIN)/python -m benchmarks --write

bench-quick: $(STAMP) ## Measure less, and only print it (four minutes)
	$(BIN)/python -m benchmarks --quick

image: ## Build the container image
	docker build --build-arg VERSION=$(VERSION) --tag reconciler:$(VERSION) .

docs: $(STAMP) ## Write docs/settings.md from the settings' descriptions
	$(BIN)/python tests/support/commands/settings_page.py

lint: $(STAMP) ## Check format, style, types, imports, docs/settings.md
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python tests/support/commands/settings_page.py --check
	@grep -rnwiE -f tests/support/rejected_words.txt $(PROSE); \
		test $$? -eq 1 || { echo "Write these words in plain English (CONTRIBUTING.md)."; exit 1; }

format: $(STAMP) ## Format the code and fix what can be fixed automatically
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(STAMP) ## Lock the newest versions that pyproject.toml allows
	$(COMPILE) --extra dev --upgrade -o requirements.txt pyproject.toml
	$(COMPILE) --resolution lowest-direct --extra dev -o requirements-lowest.txt pyproject.toml
	$(COMPILE) --constraints requirements.txt --extra codec -o deploy/image/requirements.txt pyproject.toml
	$(COMPILE) --constraints requirements.txt --group build -o deploy/image/build.txt

clean: ## Remove everything that was generated
	rm -rf $(VENV) $(LOWEST) .venv-3.* dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(STAMP): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	@echo "Installing the locked packages into $(VENV): about a minute, the first time."
	$(call install,$(PYTHON),$(VENV),requirements.txt)

$(LOWEST)/.installed: requirements-lowest.txt pyproject.toml
	@echo "Installing the oldest supported packages into $(LOWEST): about a minute, the first time."
	$(call install,$(LOWEST_PYTHON),$(LOWEST),requirements-lowest.txt)

# A new environment: its Python, its folder, its packages.
define install
	$(1) -m venv $(2)
	$(2)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(3)
	$(2)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(2)/.installed
endef
