# Every target starts with nothing installed but Python, and works again when it was interrupted or repeated.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
RUNTIME := $(VENV)/.runtime-installed
TOOLS := $(VENV)/.tools-installed
FULL := $(VENV)/.full-installed
PARALLEL := --numprocesses=auto --dist=worksteal

# Everything that makes a difference to the tests; the extra `inception` would download weights of its own.
EXTRAS := dev,integration,explorer,heif,tiff,onnx,hub,keras,parquet,remote,tensorboard,wandb,mlflow

.PHONY: help demo test test-all test-slow test-lowest test-newest reliability format clean

help:
	@echo "make demo         install, download MNIST, train for four to six minutes, report what was learned"
	@echo "make test         install, then ruff, mypy --strict and the fast tests"
	@echo "make test-all     also the integration tests: browser, Keras, torchrun, packaging, notebooks, trackers"
	@echo "make test-slow    also the tests that take minutes"
	@echo "make test-lowest  all tests but slow ones with the lowest supported versions, in .venv-lowest"
	@echo "make test-newest  the same with the newest versions; pass PYTHON=python3.13 to use another Python"
	@echo "make reliability  injected faults, hostile input, the explorer under load: 15 minutes"
	@echo "make format       format the code and fix what ruff can fix"
	@echo "make clean        remove the virtual environments and caches"

demo: $(RUNTIME)
	$(BIN)/infogan train mnist --seed 0

test: $(TOOLS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest $(PARALLEL)

test-all: $(FULL)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow"

test-slow: $(FULL)
	$(BIN)/python -m pytest $(PARALLEL) -m "slow or not slow"

# What only the tests need is the newest that fits.
test-lowest test-newest: test-%:
	$(PYTHON) -m venv --clear .venv-$*
	if [ $* = lowest ]; then $(PYTHON) tests/lowest.py; fi > .venv-$*/constraints.txt
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint .venv-$*/constraints.txt --editable '.[$(EXTRAS)]'
	.venv-$*/bin/python -m pytest $(PARALLEL) -m "not slow"

reliability: $(FULL)
	$(BIN)/python -m benchmarks.reliability

format: $(TOOLS)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Each stamp is written last, so that an interrupted installation starts again.
$(RUNTIME): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || \
		{ echo "$(PYTHON) was not found: install Python 3.11 or newer, or pass PYTHON=..."; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "infogan needs Python 3.11 or newer, but $(PYTHON) is $$($(PYTHON) --version); pass PYTHON=..."; exit 2; }
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) --requirement requirements.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@

$(TOOLS): $(RUNTIME) requirements-dev.lock
	$(PIP) --requirement requirements-dev.lock
	touch $@

$(FULL): $(TOOLS) requirements-full.lock
	$(PIP) --requirement requirements-full.lock
	touch $@

clean:
	rm -rf $(VENV) .venv-lowest .venv-newest .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
