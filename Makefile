# README's two commands are `make demo` and `make test`; both install what they need into .venv.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
DEMO_ARGS ?=
BENCH_ARGS ?=
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: demo test check bench slow screenshots format clean

demo: $(VENV)/.run
	$(BIN)/iaca demo --config infra/runs/demo.toml $(DEMO_ARGS)

test: $(VENV)/.dev
	$(BIN)/python -m pytest

slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow --ignore=tests/benchmarks

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell iaca_model pipeline flows infra tests README.md CONTRIBUTING.md CHANGELOG.md
	$(BIN)/python -m pytest -q tests/test_architecture.py

bench: $(VENV)/.dev
	$(BIN)/python -m pytest tests/benchmarks -m "" -q $(BENCH_ARGS)

screenshots: $(VENV)/.run
	$(BIN)/python -m tests.support.screenshots

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/.python:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.run: $(VENV)/.python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -e . -c constraints.txt
	touch $@

$(VENV)/.dev: $(VENV)/.python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[dev]" -c constraints.txt
	touch $@ $(VENV)/.run

clean:
	rm -rf $(VENV) outputs build *.egg-info
