"""How much there is to do: what a plan is computed from, beside the machine's speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from tightrope.data.chat import ChatFormat
from tightrope.errors import InputError
from tightrope.models import loading
from tightrope.models.kernels.calling import usable
from tightrope.recipes.schema import DataSpec
from tightrope.records import Prompt

# Bytes per layer and hidden unit that a token keeps for the backward pass, by the process's peak, which holds what the
# allocator does not give back (embedded model, one lane; 459 and 869 tokens at once in float32, 2026-11-26, else 1,667
# and 2,987, 2026-11-27). By count they are 44 in float32, and 9 in bfloat16 where passes are C.
KEPT_BYTES = {"float32": 72, "bfloat16": 42}
KEPT_BY_PASSES = 24
COUNTED_ROWS = 200


@dataclass(frozen=True)
class Start:
    """What is known of the start model without loading it."""

    spec: str
    parameters: int
    body: int  # of them, those that every token meets
    head: int  # the output head, which only learnt tokens meet
    units: int  # layers times hidden size
    cached: int  # numbers a token leaves in the sampler's cache

    @cached_property
    def chat(self) -> ChatFormat:
        """Its template, to count tokens with."""
        return ChatFormat(loading.load_tokenizer(self.spec))

    @classmethod
    def of(cls, spec: str) -> Start:
        """Reads the config; no weight is loaded, or downloaded."""
        config = loading.load_config(spec).get_text_config()
        parameters, head = loading.count_parameters(spec), config.vocab_size * config.hidden_size
        tables = head if config.tie_word_embeddings else 2 * head
        units = config.num_hidden_layers * config.hidden_size
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        wide = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        cached = 2 * config.num_hidden_layers * heads * wide
        return cls(spec, parameters, max(0, parameters - tables), head, units, cached)


@dataclass(frozen=True)
class Rows:
    """Examples, and mean tokens of one.

    Attributes:
        examples: how many.
        tokens: prompt and all responses.
        learnt: those that are learnt.
        probe: of a response that another example lends it.
        alone: of its responses, each behind a prompt of its own, as a reward model is measured.
    """

    examples: int
    tokens: float
    learnt: float
    probe: float
    alone: float

    @classmethod
    def together(cls, parts: Sequence[Rows]) -> Rows:
        """Several files as one."""
        total = sum(p.examples for p in parts)
        fields = ("tokens", "learnt", "probe", "alone")
        return cls(total, *(sum(p.examples * getattr(p, f) for p in parts) / total for f in fields))


@dataclass(frozen=True)
class Made:
    """What a feedback stage will have made, were every prompt to give all it can."""

    prompts: tuple[Prompt, ...]
    samples: int  # answers to a prompt
    pairs: int  # to a prompt
    answer_tokens: float  # mean

    def asked(self, spec: DataSpec) -> list[Prompt]:
        """The prompts of its records of a data spec: one for each record.

        Raises:
            InputError: there is none.
        """
        file = spec.path.partition("/")[2].removesuffix("s.jsonl")
        wanted = [p for p in self.prompts if not spec.tags or set(spec.tags) & set(p.tags)]
        records = [p for p in wanted for _ in range(self._records(file))]
        if not records:
            raise InputError("no record is left", where=spec.path, remedy="Check `tags` and what the stage asks.")
        left = min(len(records), spec.limit or len(records))
        return [records[i * len(records) // left] for i in range(left)]

    def rows(self, kind: str, spec: DataSpec, chat: ChatFormat) -> Rows:
        """Its rows of a kind, as a data spec chooses them; see `asked`."""
        path = spec.path if "/" in spec.path else f"{spec.path}/{kind}s.jsonl"
        records = self.asked(spec.model_copy(update={"path": path}))
        answers, prompt = 2 if kind == "comparison" else 1, prompt_tokens(chat, records)
        learnt = answers * self.answer_tokens
        return Rows(len(records), prompt + learnt, learnt, self.answer_tokens, answers * prompt + learnt)

    def _records(self, kind: str) -> int:
        """Records of a kind that a prompt gives."""
        return {"sample": self.samples, "comparison": self.pairs, "rating": 2 * self.pairs}.get(kind, 1)


def kept_bytes(dtype: str, device: str) -> int:
    """Of a token for its backward pass, per layer and hidden unit."""
    by_passes = dtype == "bfloat16" and usable(torch.empty(0, dtype=torch.bfloat16, device=device))
    return KEPT_BY_PASSES if by_passes else KEPT_BYTES[dtype]


def prompt_tokens(chat: ChatFormat, prompts: Sequence[Prompt]) -> float:
    """Mean tokens of a prompt, template and all."""
    some = prompts[:: -(-len(prompts) // COUNTED_ROWS)]
    return sum(len(chat.prompt_ids(p.messages)) for p in some) / len(some)
