#!/usr/bin/env bash
# The GPU benchmark and the tests marked `gpu`; nine minutes in all. `--rehearse` runs a tiny model on the CPU.
set -euo pipefail
cd "$(dirname "$0")/.."
export TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1
if [ "${1:-}" != --rehearse ]; then .venv/bin/python -m pytest -m gpu -q; fi
exec .venv/bin/python bench/gpu.py "$@"
