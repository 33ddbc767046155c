"""Reading, tokenising and serving comparisons: tokens a second, and memory as the data set grows.

    OMP_NUM_THREADS=1 python bench/data.py [--pairs 1000 10000 100000]

The pairs of the other benches (prompt about 100, chosen 200, rejected 120 tokens), as a JSONL file. Each size runs in
a process of its own: the file is streamed, tokenised in chunks and written to a token cache; then batches of 16 are
read from it in the order of training. `alone` tokenises the first pairs text by text, for the ratio.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _machine import machine
from _pairs import make_pairs

OUT = Path(__file__).parent / "results" / "data.json"
ALONE, BATCH, STEPS = 500, 16, 500
DIFFERENT = 5000  # pairs; behind them texts come again, with another number before the prompt


def resident() -> int:
    """Peak resident memory so far, bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def now() -> int:
    """Resident memory now, bytes; of it, what is not backed by a file."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return resident()
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) * 1024


def one(pairs: int, folder: Path) -> dict[str, Any]:
    """Measures one size in this process."""
    import numpy as np

    from tightrope.data.account import Account
    from tightrope.data.chat import ChatFormat
    from tightrope.data.encode import encode
    from tightrope.data.readers import stream
    from tightrope.data.store import StoreWriter
    from tightrope.models.loading import load_tokenizer
    from tightrope.records import Comparison

    chat = ChatFormat(load_tokenizer("embedded"))
    before = now()
    account, started, spent = Account(), time.perf_counter(), time.process_time()
    with StoreWriter(folder / "tokens") as writer:
        encoding = encode(
            stream(folder / "pairs.jsonl", account), chat, kind=Comparison, max_tokens=4096, into=writer.add
        )
        store = writer.finish(encoding.account())
    seconds, spent, after = time.perf_counter() - started, time.process_time() - spent, now()
    rng, steps = np.random.default_rng(0), min(STEPS, pairs // BATCH)
    order = rng.permutation(len(store))[: steps * BATCH].tolist()
    started = time.process_time()
    served = sum(store[i].tokens for i in order)
    serving = time.process_time() - started
    started, alone = time.process_time(), 0
    for n, record in enumerate(stream(folder / "pairs.jsonl", Account())):
        if n == ALONE:
            break
        assert isinstance(record, Comparison)
        prompt, chosen = chat.encode(record.prompt, record.chosen)
        alone += len(prompt) + len(chosen) + len(chat.encode(record.prompt, record.rejected)[1])
    return {
        "pairs": len(store),
        "tokens": encoding.tokens,
        "seconds": round(seconds, 2),
        "tokens_per_second": round(encoding.tokens / seconds),
        "tokens_per_cpu_second": round(encoding.tokens / spent),
        "tokens_per_cpu_second_alone": round(alone / (time.process_time() - started)),
        "grown_mib": round((after - before) / 2**20, 1),
        "serving_grown_mib": round((now() - after) / 2**20, 1),
        "peak_mib": round(resident() / 2**20, 1),
        "served_cpu_microseconds_per_pair": round(1e6 * serving / max(1, len(order)), 1),
        "served_tokens_per_cpu_second": round(served / serving),
        "cache_bytes_per_token": round(
            sum(f.stat().st_size for f in (folder / "tokens").iterdir()) / encoding.tokens, 2
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--pairs", type=int, nargs="+", default=[1000, 10000, 100000])
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.pairs[0], options.one)))
        return
    rows = []
    for count in options.pairs:
        with tempfile.TemporaryDirectory() as name:
            with (Path(name) / "pairs.jsonl").open("w", encoding="utf-8") as file:
                some = make_pairs(min(count, DIFFERENT))
                for n in range(count):
                    pair = some[n % DIFFERENT]
                    file.write(json.dumps({**pair, "prompt": f"{n}: {pair['prompt']}"}) + "\n")
            command = [sys.executable, __file__, "--one", name, "--pairs", str(count)]
            rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        print(json.dumps(rows[-1]), flush=True)
    OUT.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
