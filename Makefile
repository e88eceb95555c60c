# The two promises to a newcomer are `make demo` and `make test`: each sets up everything it needs by itself.
# PYTHON may name another interpreter (3.11 to 3.13); STRATEGY_HOME may name another folder for data.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PEERS := $(VENV)/.peers
export UV_LINK_MODE ?= copy

.PHONY: demo test ui bench lint lock clean

demo: $(READY)
	@$(BIN)/strategy-pipeline demo

test: $(READY)
	@$(BIN)/python -m pytest -n 2 --dist loadfile

ui: $(READY)
	@$(BIN)/strategy-pipeline ui

bench: $(PEERS)
	@$(BIN)/python -m benchmarks

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m strategy_pipeline_tests.secret_scan

# The environment is made anew whenever the lock file or the project's metadata change.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else f"Python 3.11 to 3.13 is needed, this is {v[0]}.{v[1]}: run make with PYTHON=python3.12, say.")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the locked environment into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# What the product is measured against; only the benchmarks import it.
$(PEERS): $(READY) requirements-bench.lock
	@echo "Installing the benchmarks' peers into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-bench.lock
	@touch $@

# Resolves pyproject.toml anew; the results name packages, versions and hashes, and no place they come from.
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--no-emit-index-url
lock: $(READY)
	@$(BIN)/python -m pip install --quiet uv
	@$(COMPILE) --extra test --extra lint --extra build --output-file requirements.lock pyproject.toml
	@$(COMPILE) --all-extras --constraint requirements.lock --output-file requirements-bench.lock pyproject.toml

clean:
	@rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis
