"""The reward model: a backbone with one score per response.

It is a plain `AutoModelForSequenceClassification` with one label, so what is saved loads anywhere. The
score is read at the response's last token (its end of turn). Such classes find that token as the
last one that is not padding, so the saved config names a padding token that no response ends with.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from tightrope.data.batch import EncodedResponse, Example, TokenBatch, pack
from tightrope.data.chat import ChatFormat
from tightrope.errors import InputError
from tightrope.models import loading
from tightrope.models.policy import Trunk
from tightrope.models.precision import Dtype
from tightrope.records import Prompt, Response


class RewardModel(Trunk):
    """Scores responses; only differences between responses to one prompt mean anything."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
        super().__init__(model)
        self.tokenizer = tokenizer
        self.name = name
        self.chat = ChatFormat(tokenizer)

    @classmethod
    def load(
        cls,
        spec: str,
        *,
        dtype: Dtype = "float32",
        seed: int = 0,
        gradient_checkpointing: bool = False,
        device: torch.device | str = "cpu",
    ) -> RewardModel:
        """Loads a reward model, or starts one from a language model with a fresh score head.

        Args:
            spec: `embedded`, a folder or a hub id; of a reward model or of a causal language model.
            dtype: type of the backbone; the score is computed in float32 either way.
            seed: of the fresh head, drawn with standard deviation 1/sqrt(hidden + 1).
            gradient_checkpointing: recompute activations in the backward pass.
            device: where to put the model.

        Raises:
            InputError: the architecture has no sequence-classification form.
        """
        tokenizer = loading.load_tokenizer(spec)
        model = loading.load_model(AutoModelForSequenceClassification, spec, dtype, device, num_labels=1)
        if not hasattr(model, "score"):
            raise InputError(
                f"{type(model).__name__} has no `score` head",
                where=spec,
                remedy="Use a decoder architecture (Llama, Qwen, Gemma, GPT-2, ...).",
            )
        reward_model = cls(model, tokenizer, name=spec)
        if not any("ForSequenceClassification" in a for a in model.config.architectures or ()):
            weight = cast(torch.nn.Linear, model.score).weight
            noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed))
            with torch.no_grad():
                weight.copy_(noise / (weight.shape[1] + 1) ** 0.5)
        model.config.pad_token_id = reward_model._padding()
        if gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
            model.train()
        return reward_model

    def _padding(self) -> int:
        """A token no response ends with; see the module's docstring."""
        for token in (
            self.tokenizer.pad_token_id,
            self.tokenizer.unk_token_id,
            self.tokenizer.bos_token_id,
            0,
        ):
            if token is not None and token not in self.chat.stop_ids:
                return int(token)
        raise InputError(
            "every special token ends a turn, so none can serve as padding",
            where=self.name,
            remedy="Give the tokenizer a pad token of its own.",
        )

    def scores(self, batch: TokenBatch) -> Tensor:
        """Returns one float32 score per response [R]."""
        last = self.hidden(batch).index_select(0, batch.response_last)
        head = cast(torch.nn.Linear, cast(PreTrainedModel, self.model).score)
        return torch.nn.functional.linear(last.float(), head.weight.float())[:, 0]

    def score_examples(
        self, examples: Sequence[Example], *, token_budget: int = 4096
    ) -> list[NDArray[np.float32]]:
        """Scores without gradients: one [responses] array per example, in order."""
        out: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(examples)
        for group in pack([e.tokens for e in examples], token_budget):
            bare = [
                Example(
                    key=examples[i].key, prompt_ids=examples[i].prompt_ids, responses=examples[i].responses
                )
                for i in group
            ]
            with torch.no_grad():
                scores = self.scores(TokenBatch.from_examples(bare, self.device)).cpu().numpy()
            at = 0
            for i in group:
                count = len(examples[i].responses)
                out[i] = scores[at : at + count].copy()
                at += count
        return out

    def score_texts(self, answers: Sequence[tuple[Prompt, Response]]) -> NDArray[np.float32]:
        """Scores of (prompt, response) pairs, [len(answers)]; an empty response is scored as its end of turn."""
        examples = []
        for prompt, response in answers:
            if response.text.strip() or response.token_ids:
                prompt_ids, ids = self.chat.encode(prompt, response)
            else:
                prompt_ids, ids = self.chat.prompt_ids(prompt.messages), [self.chat.end_of_turn]
            examples.append(
                Example(key="score", prompt_ids=tuple(prompt_ids), responses=(EncodedResponse(tuple(ids)),))
            )
        scores = self.score_examples(examples)
        return np.array([float(s[0]) for s in scores], dtype=np.float32)

    def save(self, folder: Path) -> None:
        """Saves a folder that `AutoModelForSequenceClassification` loads, compared after reading back."""
        model = cast(PreTrainedModel, self.model)
        loading.refuse_nan(model.named_parameters(), where=str(folder))

        def write(staging: Path) -> None:
            model.save_pretrained(staging)
            self.tokenizer.save_pretrained(staging)

        def reload(staging: Path) -> object:
            AutoTokenizer.from_pretrained(staging)
            return AutoModelForSequenceClassification.from_pretrained(staging, dtype="auto")

        loading.save_folder(folder, write, dict(model.state_dict()), reload=reload)
