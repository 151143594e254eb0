# make search   set everything up and search for a Pixel 1's CPU
# make test     set everything up and run the fast tests
# Every target makes .venv when it is missing. PYTHON=python3.12 chooses another interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: search test test-slow test-long lint clean

search: $(VENV)/base
	$(BIN)/python -m nas.search +hardware=pixel_cpu

test: $(VENV)/dev
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not gpu"

# They wait a quarter of their time, for boards and servers: three at once fill two cores.
test-slow: $(VENV)/dev
	$(BIN)/python -m pytest -n 3 --dist worksteal -m "slow and not long and not gpu"

# Figures of the README again, for minutes each; CI leaves them out.
test-long: $(VENV)/dev
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "long and not gpu"

lint: $(VENV)/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name it: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/base: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@ $(VENV)/base

clean:
	rm -rf $(VENV) runs .mypy_cache .pytest_cache .ruff_cache
