"""Sampling that goes on where a killed process stopped: every answer is on disk when it is finished."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tightrope.errors import InputError
from tightrope.files import writing
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
        partial: file of finished answers. Its name or place must stand for policy, requests and params: only the
            prompts are compared. The caller removes it when it has no more use for it.
        progress: see `sample`.

    Raises:
        InputError: as `sample`.
        WorkError: as `sample`, or the disk is full.
    """
    with _Partial(partial, requests) as kept:
        return sample(policy, requests, params, known=kept.known, finished=kept.add, progress=progress)


class _Partial:
    """The file: one `Sampled` a line with its place among the requests; what is behind a broken line is cut off."""

    def __init__(self, path: Path, requests: Sequence[SampleRequest]) -> None:
        self._path, self._requests = path, requests
        self.known: dict[tuple[int, int], Response] = {}
        whole = 0
        for line in path.read_bytes().splitlines(keepends=True) if path.is_file() else ():
            if not self._take(line):
                break
            whole += len(line)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab")
            self._file.truncate(whole)

    def _take(self, line: bytes) -> bool:
        try:
            row = json.loads(line)
            request, k = int(row.pop("request")), int(row.pop("k"))
            record = from_json(row)
            asked = self._requests[request]
        except (ValueError, TypeError, AttributeError, LookupError, InputError):
            return False
        if not (line.endswith(b"\n") and isinstance(record, Sampled) and record.prompt == asked.prompt and k < asked.n):
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
