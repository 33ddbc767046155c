"""Sampling that goes on where a killed process stopped: every answer is on disk when it is finished."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tightrope.files import cut_jsonl, writing
from tightrope.models.policy import Policy
from tightrope.records import Response, Sampled, from_json, to_json
from tightrope.rollouts.local import Progress, sample
from tightrope.rollouts.types import SampleRequest, SamplingParams


def sample_resumably(
    policy: Policy,
    requests: Sequence[SampleRequest],
    params: SamplingParams,
    *,
    partial: Path,
    progress: Progress | None = None,
) -> list[list[Response]]:
    """Samples as `sample` does, without what `partial` holds; a request's sample does not depend on its company.

    Args:
        policy: the live policy.
        requests: prompts with their number of responses and seed.
        params: how tokens are drawn.
        partial: folder of finished answers, a file for each kind of device. Its name or place must stand for policy,
            requests and params: only the prompts are compared. The caller removes it (`forget`) when it has no more use
            for it.
        progress: see `sample`.

    Raises:
        InputError: as `sample`.
        WorkError: as `sample`, a line of the file is damaged, or the disk is full.
    """
    with _Partial(partial / f"{policy.device.type}.jsonl", requests) as kept:
        return sample(policy, requests, params, known=kept.known, finished=kept.add, progress=progress)


def forget(partial: Path) -> None:
    """Removes what `sample_resumably` kept, if there is anything."""
    shutil.rmtree(partial, ignore_errors=True)


class _Partial:
    """The file: one `Sampled` a line with its place among the requests; cut where another prompt is answered."""

    def __init__(self, path: Path, requests: Sequence[SampleRequest]) -> None:
        self._path, self._requests = path, requests
        self.known: dict[tuple[int, int], Response] = {}
        cut_jsonl(path, self._take)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab")

    def _take(self, row: dict[str, Any]) -> bool:
        request, k = row.pop("request"), row.pop("k")
        record, asked = from_json(row), self._requests[request]
        if not (isinstance(record, Sampled) and record.prompt == asked.prompt and k < asked.n):
            return False
        self.known[request, k] = record.response
        return True

    def add(self, request: int, k: int, response: Response) -> None:
        """Writes one answer.

        Raises:
            WorkError: the disk is full.
        """
        row = {"request": request, "k": k, **to_json(Sampled(self._requests[request].prompt, response))}
        with writing(self._path):
            self._file.write(json.dumps(row).encode() + b"\n")
            self._file.flush()

    def __enter__(self) -> _Partial:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # what a full disk did not take; an error is on its way
            self._file.close()
