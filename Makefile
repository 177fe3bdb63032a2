# make run and make test are all that is needed; Python 3.11 or newer has to be installed.
PYTHON ?= python3
BIN = .venv/bin
# The files name everything. Were dependencies resolved again, an older pip would take the newest
# release of one that is wanted with an extra, and then refuse it for its missing hash.
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps

# pytest rewrites the tests, which takes as long as a tenth of them: it keeps what it wrote,
# whatever the environment says.
PYTEST = PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist worksteal
# Counting the coverage doubles the time of a test, so only CI does it, where it says the most: the
# slow tests do the same again on PostgreSQL, or start processes and browsers, which are not counted.
COVERAGE = $(if $(CI),--cov --cov-report=)

.PHONY: run test test-slow lint format lock bench chaos screenshots clean

run: .venv/run
	@$(BIN)/python -m smstracker --end-with-parent

test: .venv/dev
	@$(PYTEST) $(COVERAGE) -m "not slow or smoke"

# One more at once than there are processors: the slow tests wait for half of their time.
test-slow: .venv/dev
	@$(PYTEST) -n 3 -m "slow and not smoke"

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: .venv/dev
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header -q \
		pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header -q \
		pyproject.toml --extra dev -c requirements.txt -o requirements-dev.txt

bench: .venv/dev
	$(BIN)/python -W ignore bench/callbacks
	$(BIN)/python -W ignore bench/flood
	$(BIN)/python -W ignore bench/streams
	$(BIN)/python -W ignore bench/slow_peers

chaos: .venv/dev
	$(BIN)/python -W ignore -m tests.chaos $(OPTIONS)

screenshots: .venv/dev
	$(BIN)/python -W ignore -m tests.screenshots $(ONLY)

clean:
	rm -rf .venv .mypy_cache .ruff_cache .coverage

.venv/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "Python's venv is missing (Debian: apt install python3-venv)"; exit 1; }
	@touch $@

.venv/run: .venv/python requirements.txt
	@echo "Installing what smstracker needs (once) ..."
	@$(PIP) -r requirements.txt
	@$(BIN)/python -m pip check
	@printf '%s\n' '#!/bin/sh' 'export PYTHONPATH="$(CURDIR)$${PYTHONPATH:+:$$PYTHONPATH}"' \
		'exec "$(CURDIR)/$(BIN)/python" -m smstracker.command_line "$$@"' > $(BIN)/flask
	@touch $@

.venv/dev: .venv/run requirements-dev.txt
	@echo "Installing what the tests need (once) ..."
	@$(PIP) -r requirements-dev.txt
	@$(BIN)/python -m pip check
	@touch $@
