"""Sampling goes on behind what a killed process had finished, and ends with the same answers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from tests.tiny import tiny_model, tiny_tokenizer
from tightrope.models.policy import Policy
from tightrope.pipeline.answers import sample_resumably
from tightrope.records import user_prompt
from tightrope.rollouts.types import SampleRequest, SamplingParams

REQUESTS = [SampleRequest(user_prompt(f"say {i}", tags=("x",)), n=1 + i % 3, seed=i) for i in range(6)]
PARAMS = SamplingParams(max_tokens=8)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy.of(tiny_model(), tiny_tokenizer(), "tiny")


def test_what_is_on_disk_is_not_sampled_again(tmp_path: Path, policy: Policy) -> None:
    partial = tmp_path / "new" / "partial.jsonl"
    whole = sample_resumably(policy, REQUESTS, PARAMS, partial=partial)
    lines = partial.read_bytes().splitlines(keepends=True)
    assert len(lines) == sum(r.n for r in REQUESTS)

    first = json.loads(lines[0])
    first["response"]["text"] = "told before"
    partial.write_bytes(json.dumps(first).encode() + b"\n" + b"".join(lines[1:4]) + lines[4][:40])
    done: list[int] = []
    again = sample_resumably(
        policy, REQUESTS, PARAMS, partial=partial, progress=lambda so_far, total, rate: done.append(so_far)
    )
    known = again[first["request"]][first["k"]]
    assert known.text == "told before" and done[0] >= 4 and done[-1] == len(lines)
    again[first["request"]][first["k"]] = dataclasses.replace(known, text=whole[first["request"]][first["k"]].text)
    assert again == whole
    assert len(partial.read_bytes().splitlines()) == len(lines)
    assert sample_resumably(policy, REQUESTS, PARAMS, partial=partial) != whole  # all of it known: nothing is sampled


@pytest.mark.parametrize("damage", [b"\xff\n", b"[]\n", b'{"request": 99, "k": 0}\n', b"{}\n"])
def test_what_stands_behind_a_broken_line_or_answers_another_prompt_is_sampled_again(
    tmp_path: Path, policy: Policy, damage: bytes
) -> None:
    partial = tmp_path / "partial.jsonl"
    whole = sample_resumably(policy, REQUESTS, PARAMS, partial=partial)
    lines = partial.read_bytes().splitlines(keepends=True)
    partial.write_bytes(b"".join([*lines[:2], damage, *lines[2:]]))
    assert sample_resumably(policy, REQUESTS, PARAMS, partial=partial) == whole
    others = [dataclasses.replace(r, prompt=user_prompt("another")) for r in REQUESTS]
    fresh = sample_resumably(policy, others, PARAMS, partial=tmp_path / "none.jsonl")
    assert sample_resumably(policy, others, PARAMS, partial=partial) == fresh
