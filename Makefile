# Wardstream: every command a developer or operator needs. `make` alone lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Compiled kernels live with the environment, so a read-only checkout still works.
export NUMBA_CACHE_DIR ?= $(CURDIR)/$(VENV)/numba-cache
export PYTHONUNBUFFERED := 1

BEDS ?= 4
KAFKA ?= tansu
KILLS ?= 100
MINUTES ?= 120
GPUS ?= gpu

.PHONY: help
help: ## List the commands
	@awk 'BEGIN {FS = ":.*## "; print "Wardstream\n"} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@printf '\n  make up BEDS=8 KAFKA=apache    variables go behind the target\n'

$(VENV)/.stack: requirements/stack.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Wardstream needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Set PYTHON=python3.11." >&2; exit 69; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the locked packages (about a minute and a half the first time) ..."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements/stack.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.train: $(VENV)/.stack
	@echo "Installing PyTorch for training (only the train extra needs it) ..."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check torch==2.13.0
	@touch $@

.PHONY: setup
setup: $(VENV)/.stack ## Make .venv with what the local stack needs
.PHONY: setup-train
setup-train: $(VENV)/.train ## Add PyTorch to .venv, for training

.venv-peers/.done: requirements/peers.lock
	@test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements/peers.lock
	@touch $@
.PHONY: setup-peers
setup-peers: .venv-peers/.done ## Make .venv-peers: stream processors to measure ours against

.PHONY: up
up: setup ## Run the whole stack here and open beds (BEDS=4 KAFKA=tansu); Ctrl-C stops it
	@$(BIN)/wardstream up --beds $(BEDS) --kafka $(KAFKA)

.PHONY: format
format: setup ## Format and sort imports
	@$(BIN)/ruff format --quiet . && $(BIN)/ruff check --fix --quiet .

.PHONY: lint
lint: setup ## Format check, lint, types, import layers
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/lint-imports --no-cache --verbose >$(VENV)/lint-imports.log 2>&1 || { cat $(VENV)/lint-imports.log; exit 1; }
	@$(BIN)/pyright

.PHONY: check
check: lint ## Lint + unit and contract tests (under two minutes)
	@$(BIN)/pytest -q tests/unit tests/contract

.PHONY: integration
integration: setup-train ## Tests against the real servers, started here
	@$(BIN)/pytest -q tests/replay tests/integration

.PHONY: browser
browser: setup ## Tests in a real Chromium
	@$(BIN)/pytest -q tests/browser

.PHONY: test
test: setup-train ## Everything CI runs: check, integration, browser
	@$(MAKE) --no-print-directory check
	@$(MAKE) --no-print-directory integration
	@$(MAKE) --no-print-directory browser

.PHONY: bench
bench: setup ## Measure speed and memory; JSON on stdout
	@$(BIN)/wardstream bench all --json

.PHONY: train
train: setup-train ## Train the rhythm model on the recordings (minutes, on CPU)
	@$(BIN)/wardstream models train

.PHONY: gpu-train
gpu-train: setup-train ## The same on the GPUs of this machine (GPUS=2: that many; needs PyTorch with CUDA)
	@$(BIN)/python -c 'import sys, torch; torch.cuda.is_available() or sys.exit("no GPU that PyTorch can use: install its CUDA build into .venv, or use make train")'
	@$(BIN)/torchrun --standalone --nproc-per-node=$(GPUS) -m models train

.PHONY: chaos
chaos: setup ## Kill beds at random moments and count what that costs (KILLS=100; JSON on stdout)
	@$(BIN)/wardstream chaos edge --kills $(KILLS) --json

.PHONY: soak
soak: setup ## Run a stack for long and see whether anything in it grows (MINUTES=120; JSON on stdout)
	@$(BIN)/wardstream soak --minutes $(MINUTES) --json

.PHONY: lock
lock: setup ## Resolve requirements/stack.lock anew from pyproject.toml
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/python deploy/lock.py

.PHONY: clean
clean: ## Remove the environment and the local stack's state
	@rm -rf $(VENV) .wardstream
