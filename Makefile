# Every target sets up what it needs: a virtual environment in .venv with the versions of requirements.lock.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# What `make study` may be told: DATA=DIR VAL=DIR WEIGHTS=DIR OUTPUT=DIR ARGS="--trials 24 ..."
OUTPUT ?= runs/quick
STUDY_ARGS := $(if $(DATA),--data "$(DATA)") $(if $(VAL),--val "$(VAL)") $(if $(WEIGHTS),--weights "$(WEIGHTS)") $(ARGS)
# An option takes one value, so ARGS replaces these.
DEFAULTS := $(if $(filter --space --space=%,$(ARGS)),,--space quick)
DEFAULTS += $(if $(filter --interpolate --interpolate=%,$(ARGS)),,--interpolate 1)

# Some containers set it; then every process of a study, and every worker, would compile torch's sources anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup study test lint format lock clean help

help:
	@echo "make study   a small study on photographs that ship with the dependencies (minutes on 2 cores)"
	@echo "make test    the test suite"
	@echo "make lint    formatting, lint and types"
	@echo "make setup   the virtual environment alone; make lock: choose new versions; make clean: remove it"

setup: $(VENV)/.ready

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "AESOP Study needs Python 3.11 or later, but $(PYTHON) is $$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.12"; exit 1; }
	@echo "setting up $(VENV): one to two minutes, about 6 GB"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.8"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

# Run again, it continues a study that was interrupted, or only renders the report anew.
study: setup
	$(BIN)/python study/sweep.py $(DEFAULTS) --resume --output "$(OUTPUT)" $(STUDY_ARGS)

test: setup
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder $(ARGS)

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock:
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --generate-hashes --no-emit-index-url \
		--no-header --upgrade --output-file requirements.lock pyproject.toml

clean:
	rm -rf $(VENV)
