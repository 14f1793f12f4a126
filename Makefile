PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PARALLEL := --numprocesses auto --maxprocesses 4 --dist loadfile

.PHONY: demo test slow quality install

demo: install            ## make a spoken corpus, train on it, classify two clips
	$(BIN)/drkf demo

test: install            ## the test suite, in as many processes as there are cores
	OMP_NUM_THREADS=1 $(BIN)/pytest $(PARALLEL) -m "not slow"

slow: install            ## the tests that take minutes
	OMP_NUM_THREADS=1 $(BIN)/pytest $(PARALLEL) -m slow

quality: install         ## formatting, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

install: $(VENV)/.installed

$(VENV)/.installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch $@
