"""The backbone of a transformer over packed bundles: what policies and reward models share.

`hidden` runs it once over a packed batch with tree attention. At start-up `probe` compares that with a plain forward
of the same model; where an architecture cannot do tree attention the trunk falls back, visibly, to one padded row per
branch: slower, same numbers, same batch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from tightrope.data.batch import TokenBatch
from tightrope.data.chat import ChatFormat
from tightrope.data.example import EncodedResponse, Example
from tightrope.models import loading
from tightrope.models.attention import PaddedRows, TreeAttention, install, no_mask
from tightrope.models.lanes import side_by_side
from tightrope.models.lean import keep_less
from tightrope.models.remade import norms_made_again
from tightrope.models.sizes import filling

if TYPE_CHECKING:
    from peft import PeftModel


class Trunk:
    """A transformer read through packed bundles; the model is switched to our attention and made lean, for good.

    Attributes:
        model: the transformers model (wrapped by peft when it has adapters).
        takes_layouts: whether the architecture calls our attention function at all.
        shares_prompts: whether tree attention is in use; False after a fallback.
        fallback_line: what to show when the fallback was taken.
    """

    def __init__(self, model: PreTrainedModel | PeftModel) -> None:
        self.model = model
        inner = loading.below_adapters(model)
        self.config = inner.config
        keep_less(inner)
        self.takes_layouts = True
        try:
            install(inner)
        except (ValueError, NotImplementedError, AttributeError):
            self.takes_layouts = False
        self.shares_prompts = self.takes_layouts
        self.fallback_line: str | None = None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def hidden(self, batch: TokenBatch, *, noise: Tensor | None = None) -> Tensor:
        """Returns the last hidden states [T, D] of a packed batch.

        Args:
            batch: the bundles.
            noise: [T, D] added to the input embeddings, once, in this call.
        """
        tokens = len(batch.input_ids)
        more = filling(tokens, self.device, self.model.dtype) if self.shares_prompts else 0
        batch = batch.filled(more)
        if noise is None:
            return self._hidden(batch, tokens)
        if self.shares_prompts:
            added = functional.pad(noise, (0, 0, 0, more))
        else:
            added = noise[PaddedRows.of(batch.layout).gather.to(noise.device)]
        mine = threading.get_ident()

        def add(module: torch.nn.Module, inputs: object, out: Tensor) -> Tensor:
            return out + added.to(out.dtype) if threading.get_ident() == mine else out  # lanes share the module

        hook = self.model.get_input_embeddings().register_forward_hook(add)
        try:
            return self._hidden(batch, tokens)
        finally:
            hook.remove()

    def _hidden(self, batch: TokenBatch, tokens: int) -> Tensor:
        with norms_made_again() if self.device.type == "cpu" else nullcontext():  # not tried around compiled kernels
            found = self._read(batch)
        return found if len(found) == tokens else found[:tokens]

    def _read(self, batch: TokenBatch) -> Tensor:
        run = loading.backbone(self.model)
        if self.shares_prompts:
            out = run(
                input_ids=batch.input_ids[None],
                position_ids=batch.positions[None],
                attention_mask=no_mask(batch.input_ids.device),
                layout=TreeAttention(batch),
                use_cache=False,
            )
            return cast(Tensor, out.last_hidden_state)[0]
        rows = PaddedRows.of(batch.layout)
        gather = rows.gather.to(batch.input_ids.device)
        out = run(
            input_ids=batch.input_ids[gather],
            position_ids=batch.positions[gather],
            attention_mask=(torch.arange(gather.shape[1])[None] < rows.lengths[:, None]).to(gather.device),
            use_cache=False,
        )
        return cast(Tensor, out.last_hidden_state).flatten(0, 1)[rows.scatter.to(gather.device)]

    def read_each(
        self,
        examples: Sequence[Example],
        read: Callable[[TokenBatch], Tensor],
        count: Callable[[Example], int],
        *,
        token_budget: int,
        progress: Callable[[int], None] | None = None,
    ) -> list[NDArray[np.float32]]:
        """Reads examples without gradients and returns what belongs to each, in order.

        Args:
            examples: of one batch need not agree on their columns: they are read without.
            read: a batch's outputs [n, ..], its examples' one behind the other.
            count: how many of them are an example's.
            token_budget: tokens at work at a time.
            progress: called with numbers of examples that have been read.
        """
        out: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(examples)

        def work(number: int, group: list[int]) -> list[int]:
            bare = [Example(e.key, e.prompt_ids, e.responses) for e in (examples[i] for i in group)]
            with torch.no_grad():
                found = read(TokenBatch.from_examples(bare, self.device)).cpu().numpy()
            at = 0
            for i in group:
                out[i] = found[at : at + count(examples[i])].copy()
                at += count(examples[i])
            return group

        for group in side_by_side([e.tokens for e in examples], token_budget, self.device, work):
            if progress:
                progress(len(group))
        return out

    def probe(self, example: Example, *, tolerance: float) -> str | None:
        """Compares packed hidden states with a plain forward; falls back when they differ.

        Args:
            example: a bundle with at least two responses.
            tolerance: largest accepted difference of a token's states, as a share of their size (both as root mean
                squares: single channels of bfloat16 states are off by more than a wrong mask moves others).

        Returns:
            A line to show when the fallback was taken, else None.
        """
        if not self.shares_prompts:
            return self._fallback("the architecture does not take an attention function")
        batch = TokenBatch.from_examples([example, example], self.device)
        with torch.no_grad():
            try:
                packed = self.hidden(batch)
            except (TypeError, ValueError, RuntimeError) as error:
                return self._fallback(f"tree attention failed ({type(error).__name__}: {error})")
            self.shares_prompts = False
            plain = self.hidden(batch)
        off, size = ((x.float().pow(2).mean(-1)).sqrt() for x in (packed - plain, plain))
        difference = float((off / size).max())
        if not difference <= tolerance:
            return self._fallback(f"tree attention is off by {difference:.2g} of a token's hidden state")
        self.shares_prompts = True
        return None

    def probe_with(self, chat: ChatFormat) -> None:
        """Probes with a sentence, as strictly as the type of the weights allows, and keeps the line to show."""
        exact = next(p for p in self.model.parameters() if p.is_floating_point()).dtype == torch.float32
        self.fallback_line = self.probe(probe_example(chat), tolerance=1e-4 if exact else 0.15)

    def _fallback(self, why: str) -> str:
        self.shares_prompts = False
        return f"prompts are not shared: {why}; every branch runs as a padded row of its own"


def probe_example(chat: ChatFormat) -> Example:
    """A bundle of a prompt and two responses, of any tokenizer."""
    ids = chat.tokenize("The quick brown fox jumps over the lazy dog, and then it rests a while.")
    third = max(1, len(ids) // 3)
    return Example(
        key="probe",
        prompt_ids=tuple(ids[:third]),
        responses=(
            EncodedResponse(tuple(ids[third : 2 * third])),
            EncodedResponse(tuple(ids[2 * third :] or ids)),
        ),
    )
