# `make report` writes the quick study of the default model into report.html; `make test` runs every check; `make docs`
# builds the documentation's site in build/site. They install into .venv the first time.
PYTHON ?= python3
BIN := .venv/bin

# import-linter runs without its cache, which may hold the imports of files that have changed since.
.PHONY: report test docs
report: .venv/.installed
	$(BIN)/headcount study --preset quick --out runs/smollm2-135m
	$(BIN)/headcount report runs/smollm2-135m --output report.html

test: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder

docs: .venv/.installed-docs
	$(BIN)/mkdocs build --strict

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.installed: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet -c constraints.txt -e .
	touch $@

.venv/.installed-dev: .venv/.installed
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

.venv/.installed-docs: .venv/.installed
	$(BIN)/pip install --quiet -c constraints.txt -e '.[docs]'
	touch $@
