"""Sampling goes on behind what a killed process had finished, and ends with the same answers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from tests.tiny import tiny_model, tiny_tokenizer
from tightrope.errors import WorkError
from tightrope.models.policy import Policy
from tightrope.pipeline.answers import forget, sample_resumably
from tightrope.records import user_prompt
from tightrope.rollouts.types import SampleRequest, SamplingParams

REQUESTS = [SampleRequest(user_prompt(f"say {i}", tags=("x",)), n=1 + i % 3, seed=i) for i in range(6)]
PARAMS = SamplingParams(max_tokens=8)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy.of(tiny_model(), tiny_tokenizer(), "tiny")


def test_what_is_on_disk_is_not_sampled_again(tmp_path: Path, policy: Policy) -> None:
    partial = tmp_path / "new" / "partial"
    whole = sample_resumably(policy, REQUESTS, PARAMS, partial=partial)
    file = partial / "cpu.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    assert len(lines) == sum(r.n for r in REQUESTS)

    first = json.loads(lines[0])
    first["response"]["text"] = "told before"
    file.write_bytes(json.dumps(first).encode() + b"\n" + b"".join(lines[1:4]) + lines[4][:40])
    done: list[int] = []
    again = sample_resumably(
        policy, REQUESTS, PARAMS, partial=partial, progress=lambda so_far, total, rate: done.append(so_far)
    )
    known = again[first["request"]][first["k"]]
    assert known.text == "told before" and done[0] >= 4 and done[-1] == len(lines)
    again[first["request"]][first["k"]] = dataclasses.replace(known, text=whole[first["request"]][first["k"]].text)
    assert again == whole
    assert len(file.read_bytes().splitlines()) == len(lines)
    assert sample_resumably(policy, REQUESTS, PARAMS, partial=partial) != whole  # all of it known: nothing is sampled
    file.rename(partial / "cuda.jsonl")  # what another device drew is not taken for this one's
    assert sample_resumably(policy, REQUESTS, PARAMS, partial=partial) == whole
    for _ in range(2):
        forget(partial)
    assert not partial.exists()


@pytest.mark.parametrize("damage", [b"\xff\n", b"[]\n", b'{"request": 99, "k": 0}\n', b"{}\n"])
def test_what_answers_another_prompt_is_sampled_again_and_damage_in_the_middle_is_told(
    tmp_path: Path, policy: Policy, damage: bytes
) -> None:
    file = tmp_path / "cpu.jsonl"
    whole = sample_resumably(policy, REQUESTS, PARAMS, partial=tmp_path)
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*lines[:2], damage, *lines[2:]]))
    with pytest.raises(WorkError, match=r"cpu\.jsonl:3: a damaged line"):
        sample_resumably(policy, REQUESTS, PARAMS, partial=tmp_path)
    file.write_bytes(b"".join([*lines[:2], damage]))
    assert sample_resumably(policy, REQUESTS, PARAMS, partial=tmp_path) == whole
    others = [dataclasses.replace(r, prompt=user_prompt("another")) for r in REQUESTS]
    fresh = sample_resumably(policy, others, PARAMS, partial=tmp_path / "none")
    assert sample_resumably(policy, others, PARAMS, partial=tmp_path) == fresh
