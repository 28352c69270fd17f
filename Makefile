# `make demo` and `make test` need nothing but Python 3.11 or 3.12 and its venv module.

PYTHON ?= python3
VENV ?= .venv
# Installed before everything else, so that whatever needs torch finds it there. On a machine without a GPU choose a
# CPU build: it is a tenth of the size.
TORCH ?= torch==2.13.0
PYTEST_ARGS ?=
# Tests at a time; those of one file stay together.
WORKERS ?= 2
DEMO_ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Strict: the import system sees what a wheel would hold, so a file that is missing there is missing here too. The
# price is that files which come or go ask for a new installation: the stamps depend on the list of files.
INSTALL := $(PIP) install --config-settings editable_mode=strict
FILES := $(VENV)/package-files.txt
SIDE_BY_SIDE := -n $(WORKERS) --dist loadfile
STOREYS := sim models callbacks services

.PHONY: help demo test slow bench gpu lint format docs site screenshot clean FORCE

help:
	@echo "make demo        the simulated beamline, the service and its page on this machine"
	@echo "make test        everything that must hold: lint, format, types, layers, documentation, tests"
	@echo "make slow        the tests that take longer"
	@echo "make bench       speed and memory on this machine"
	@echo "make gpu         all that needs an NVIDIA GPU: the shared tests on it, then the tables"
	@echo "make lint        the checks without the tests"
	@echo "make format      let ruff put the files into form"
	@echo "make docs        write the generated reference pages"
	@echo "make site        build the documentation as a website in build/site"
	@echo "make screenshot  take the pictures of README and tutorial from a real demo"
	@echo "make clean       remove what the targets above made"

demo: $(VENV)/demo.stamp
	$(BIN)/braggwatch demo $(DEMO_ARGS)

test: lint site
	$(BIN)/pytest -rs $(SIDE_BY_SIDE) $(PYTEST_ARGS)

slow: $(VENV)/develop.stamp
	$(BIN)/pytest -rs $(SIDE_BY_SIDE) -m "slow and not gpu and not benchmark" $(PYTEST_ARGS)

bench: $(VENV)/develop.stamp
	$(BIN)/pytest -m benchmark -s tests/benchmarks $(PYTEST_ARGS)

gpu: $(VENV)/develop.stamp
	$(BIN)/braggwatch engine info
	$(BIN)/pytest -rs -m "gpu and not benchmark" $(PYTEST_ARGS)
	$(BIN)/pytest -rs -s -m "gpu and benchmark" $(PYTEST_ARGS)

lint: $(VENV)/develop.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

format: $(VENV)/develop.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/develop.stamp
	$(BIN)/python docs/generate_reference.py

# Strict: what MkDocs warns of, a link that leads nowhere above all, is an error. Material's notice is about other tools.
site: $(VENV)/develop.stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --config-file docs/site/mkdocs.yml

screenshot: $(VENV)/develop.stamp
	$(BIN)/python docs/take_pictures.py $(DEMO_ARGS)

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Braggwatch needs Python 3.11 or later")'
	$(PYTHON) -m venv $(VENV)

# Looked at each time, rewritten only where a file came or went.
$(FILES): FORCE | $(BIN)/python
	@find $(STOREYS) -type f ! -path '*/__pycache__/*' | LC_ALL=C sort > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

FORCE:

$(VENV)/demo.stamp: pyproject.toml $(FILES) | $(BIN)/python
	$(INSTALL) -e '.[sim]'
	@touch $@

$(VENV)/develop.stamp: pyproject.toml $(FILES) | $(BIN)/python
	$(PIP) install '$(TORCH)'
	$(INSTALL) -e '.[sim,train,sadp,apt,gpu,openvino,epics,docs,dev]'
	@touch $@ $(VENV)/demo.stamp

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .benchmarks .import_linter_cache
	find $(STOREYS) tests docs -name __pycache__ -type d -prune -exec rm -rf {} +
