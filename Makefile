# `make run` answers for a real photo, `make test` checks everything; both set up .venv by themselves.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
CORE := .venv/.core
STAMP := .venv/.installed
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check install --constraint constraints.txt
DEV := httpx hypothesis import-linter jsonschema mypy pytest ruff schemathesis scikit-image selenium types-jsonschema types-PyYAML mkdocstrings-python zensical

.PHONY: run test lint format docs

run: $(CORE)
	$(BIN)/python examples/chelsea.py

test: lint
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP)
	$(BIN)/zensical build --strict

# torch first and by its exact version: a range would let pip prefer a build with CUDA.
$(CORE): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) torch==2.13.0
	$(PIP) --editable . scikit-image
	touch $(CORE)

$(STAMP): $(CORE)
	$(PIP) --editable ".[train,serve,demo,engine,ray,eval]" $(DEV)
	touch $(STAMP)
