# Two commands: `make report` runs the quick study of the default model into report.html, `make test` every check.
# Each sets up .venv itself; both are quick the second time.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: report test
report: .venv/.installed
	$(BIN)/headcount study --preset quick --out runs/smollm2-135m
	$(BIN)/headcount report runs/smollm2-135m --output report.html

test: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.installed: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet -c constraints.txt -e .
	touch $@

.venv/.installed-dev: .venv/.installed
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@
