"""How much there is to do, and how fast this machine multiplies: what a plan is computed from."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from tightrope.data.chat import ChatFormat
from tightrope.data.encode import RECORDS, Encoding, example_of
from tightrope.models import loading
from tightrope.objectives.base import Objective
from tightrope.recipes.schema import TrainStage
from tightrope.records import Prompt, Record

# Bytes per layer and hidden unit that a token keeps for the backward pass: 116 in bfloat16, whose norms and softmax are
# float32 (2026-11-23), 73 to 128 in float32 (2026-11-25), on the embedded model.
KEPT_BYTES = 128
COUNTED_ROWS = 200


@dataclass(frozen=True)
class Start:
    """What is known of the start model without loading it."""

    spec: str
    parameters: int
    body: int  # of them, those that every token meets
    head: int  # the output head, which only learnt tokens meet
    kept_bytes: int  # that a token keeps for the backward pass

    @cached_property
    def chat(self) -> ChatFormat:
        """Its template, to count tokens with."""
        return ChatFormat(loading.load_tokenizer(self.spec))

    @classmethod
    def of(cls, spec: str) -> Start:
        """Reads the config and the weight files' headers."""
        config = loading.load_config(spec).get_text_config()
        parameters, head = _parameters(spec), config.vocab_size * config.hidden_size
        tables = head if config.tie_word_embeddings else 2 * head
        kept = KEPT_BYTES * config.num_hidden_layers * config.hidden_size
        return cls(spec, parameters, max(0, parameters - tables), head, kept)


@dataclass(frozen=True)
class Made:
    """What a feedback stage will have made."""

    prompts: int
    pairs: int
    prompt_tokens: float  # mean
    answer_tokens: float  # mean

    def rows(self, kind: str) -> tuple[int, float, float]:
        """Rows of a kind, mean tokens of one, and how many of them are learnt."""
        count, answers = {"comparison": (self.pairs, 2), "rating": (2 * self.pairs, 1)}.get(kind, (self.prompts, 1))
        learnt = answers * self.answer_tokens
        return count, self.prompt_tokens + learnt, learnt


def matrix_speed(dtype: torch.dtype, device: str) -> float:
    """FLOP/s of a matrix product of this model class's shape on this machine."""
    a, b = (
        torch.randn(1024, 1024, dtype=dtype, device=device),
        torch.randn(1024, 1024, dtype=dtype, device=device),
    )
    _ = a @ b
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < 0.25:
        _ = a @ b
        if device != "cpu":
            torch.cuda.synchronize()
        done += 1
    return 2 * 1024**3 * done / (time.perf_counter() - started)


def _parameters(spec: str) -> int:
    """Parameters of a model, from its weight files' headers."""
    from safetensors import safe_open

    folder = Path(loading.resolve(spec))
    if not folder.is_dir():
        return 0
    total = 0
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - safe_open is not a mapping
                size = 1
                for n in tensors.get_slice(name).get_shape():
                    size *= n
                total += size
    return total


def example_tokens(
    records: Sequence[Record], objective: Objective, chat: ChatFormat, stage: TrainStage
) -> tuple[float, float]:
    """Tokens of an example and learnt tokens, means over some of the records."""
    kind, joint = RECORDS[objective.card.data], objective.card.layout == "joint"
    out = Encoding(desirable_above=stage.desirable_above)
    some = records[:: -(-len(records) // COUNTED_ROWS)]
    examples = [e for r in some if (e := example_of(r, chat, out, kind=kind, joint=joint)) is not None]
    if not examples:
        return 0.0, 0.0
    return sum(e.tokens for e in examples) / len(examples), sum(e.learned for e in examples) / len(examples)


def prompt_tokens(chat: ChatFormat, prompts: Sequence[Prompt]) -> float:
    """Mean tokens of a prompt, template and all."""
    some = prompts[:: -(-len(prompts) // COUNTED_ROWS)]
    return sum(len(chat.prompt_ids(p.messages)) for p in some) / len(some)
