# Everything from a bare Python: each target starts with nothing installed, and works again when interrupted or repeated.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
RUNTIME := $(VENV)/.runtime-installed
TOOLS := $(VENV)/.tools-installed
# A file of tests stays on one core, for what its tests share: browser, server, trained run.
ALL_CORES := --numprocesses=auto --dist=loadfile

# All that makes a difference to what is tested; the extra inception has weights of its own to fetch.
EXTRAS := dev,explorer,onnx,hub,keras,parquet,remote,tensorboard,wandb,mlflow

.PHONY: help demo test test-slow test-lowest test-newest reliability format clean

help:
	@echo "make demo       install, fetch MNIST, train for four to six minutes, say what the codes mean"
	@echo "make test       install, then ruff, mypy --strict and pytest"
	@echo "make test-slow  the tests that take minutes as well"
	@echo "make test-lowest  the tests with the lowest versions of libraries that are allowed, in .venv-lowest"
	@echo "make test-newest  the tests with the newest ones; PYTHON=python3.13 as well, for each"
	@echo "make reliability  faults injected, strangers' input, the explorer under load: 15 minutes"
	@echo "make format     let ruff format and mend what it can"
	@echo "make clean      remove the virtual environment and caches"

demo: $(RUNTIME)
	$(BIN)/infogan train mnist --seed 0

test: $(TOOLS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest $(ALL_CORES)

test-slow: $(TOOLS)
	$(BIN)/python -m pytest $(ALL_CORES) --runslow

# What the tests alone need is the newest that goes with the rest.
test-lowest test-newest: test-%:
	$(PYTHON) -m venv --clear .venv-$*
	if [ $* = lowest ]; then $(PYTHON) tests/lowest.py; fi > .venv-$*/constraints.txt
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint .venv-$*/constraints.txt --editable '.[$(EXTRAS)]'
	.venv-$*/bin/python -m pytest $(ALL_CORES)

reliability: $(TOOLS)
	$(BIN)/python -m benchmarks.reliability

format: $(TOOLS)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# A stamp is written last, so that an installation that was interrupted is begun anew.
$(RUNTIME): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || \
		{ echo "there is no $(PYTHON) here: install Python 3.11 or newer, or pass PYTHON=..."; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "infogan needs Python 3.11 or newer, but $(PYTHON) is $$($(PYTHON) --version); pass PYTHON=..."; exit 2; }
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) --requirement requirements.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@

$(TOOLS): $(RUNTIME) requirements-dev.lock
	$(PIP) --requirement requirements-dev.lock
	touch $@

clean:
	rm -rf $(VENV) .venv-lowest .venv-newest .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
