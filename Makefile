# make demo: from nothing to a robustness report.   make test: the whole suite.   Both make .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo demo-quick test lint wheel clean

demo: $(VENV)/.demo
	$(BIN)/robustaug demo

demo-quick: $(VENV)/.demo
	$(BIN)/robustaug demo --quick

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2

lint: $(VENV)/.dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

wheel: $(VENV)/.dev
	$(BIN)/python -m build --wheel --outdir dist .

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	@echo "Installing robustaug with torch into $(VENV): some minutes and 6 GB, once"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[demo]"
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	@echo "Installing robustaug with torch and the development tools into $(VENV): some minutes and 6 GB, once"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
