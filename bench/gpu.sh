#!/usr/bin/env bash
# The GPU benchmark and the tests marked `gpu`; nine minutes in all. `--rehearse` runs a tiny model on the CPU.
# PYTHON names another interpreter than the one of `make setup`, --trl-python one with TRL, --tokenizer a folder.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
export TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1
if [ "${1:-}" != --rehearse ]; then "$PYTHON" -m pytest -m gpu -q tests/models tests/training; fi
exec "$PYTHON" bench/gpu.py "$@"
