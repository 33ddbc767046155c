"""Writes the shortest pairs of a subset of LLMBar, for audits of language models on small machines.

python scripts/llmbar_short.py llmbar_pairs.jsonl.gz 40 Adversarial/Neighbor > neighbor.jsonl
"""

from __future__ import annotations

import gzip
import json
import sys


def main() -> None:
    path, count, subset = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [row for row in map(json.loads, file) if row["subset"] == subset]
    rows.sort(key=lambda row: sum(len(row[name]) for name in ("input", "output_1", "output_2")))
    sys.stdout.writelines(json.dumps(row) + "\n" for row in rows[:count])


if __name__ == "__main__":
    main()
