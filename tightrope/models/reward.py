"""The reward model: a backbone with one score per response, or per step, or per pair.

It is a plain `AutoModelForSequenceClassification`, so what is saved loads anywhere: one label, except for process
models with three. The score is read at the response's last token (its end of turn). Such classes find that token as the
last one that is not padding, so the saved config names a padding token that no response ends with. How a
model's outputs are meant is in `reading`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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

from tightrope.data.batch import TokenBatch
from tightrope.data.chat import ChatFormat
from tightrope.data.example import EncodedResponse, Example
from tightrope.data.joint import joint_example
from tightrope.data.steps import encode_steps, split_steps
from tightrope.errors import InputError
from tightrope.models import loading
from tightrope.models.precision import Dtype
from tightrope.models.reading import KEY, Reading, aggregated, correct, is_classifier, saved_reading
from tightrope.models.saving import save_folder
from tightrope.models.trunk import Trunk
from tightrope.records import Prompt, Response

PROCESS_LABELS = {0: "bad", 1: "neutral", 2: "good"}


class RewardModel(Trunk):
    """Scores responses; only differences between responses to one prompt mean anything.

    Attributes:
        reading: what its outputs mean.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        name: str,
        reading: Reading | None = None,
    ) -> None:
        super().__init__(model)
        self.tokenizer = tokenizer
        self.name = name
        self.reading = reading or Reading.of(model.config)
        self.chat = ChatFormat(tokenizer)

    @classmethod
    def load(
        cls,
        spec: str,
        *,
        dtype: Dtype = "float32",
        reading: Reading | None = None,
        seed: int = 0,
        gradient_checkpointing: bool = False,
        device: torch.device | str = "cpu",
    ) -> RewardModel:
        """Loads a reward model or, given a reading, starts one: a head that the files do not hold is drawn afresh.

        Args:
            spec: `embedded`, a folder or a hub id; of a reward model or of a causal language model.
            dtype: type of the backbone; the score is computed in float32 either way.
            reading: what it is trained to be; None: what its config says, and its files must hold the head.
            seed: of the fresh head, drawn with standard deviation 1/sqrt(hidden + 1).
            gradient_checkpointing: recompute activations in the backward pass.
            device: where to put the model.

        Raises:
            InputError: the architecture has no sequence-classification form, or the head that is to score is not there.
        """
        tokenizer = loading.load_tokenizer(spec)
        config = loading.load_config(spec)
        said = saved_reading(config, spec) if reading is None else Reading.of(config)
        # Another number of outputs is another head: the classifier's own does not fit and is drawn afresh.
        fresh_head = reading is not None and (not is_classifier(config) or reading.outputs != said.kept)
        reading = reading or said
        model = loading.load_model(
            AutoModelForSequenceClassification,
            spec,
            dtype,
            device,
            num_labels=reading.outputs,
            fresh_head=fresh_head,
        )
        if not hasattr(model, "score"):
            raise InputError(
                f"{type(model).__name__} has no `score` head",
                where=spec,
                remedy="Use a decoder architecture (Llama, Qwen, Gemma, GPT-2, ...).",
            )
        reward_model = cls(model, tokenizer, name=spec, reading=reading)
        if fresh_head:
            weight = cast(torch.nn.Linear, model.score).weight
            noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed))
            with torch.no_grad():
                weight.copy_(noise / (weight.shape[1] + 1) ** 0.5)
        model.config.pad_token_id = reward_model._padding()
        if gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
            model.train()
        reward_model.probe_with(reward_model.chat)
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

    @property
    def head(self) -> torch.nn.Linear:
        """The live head, [outputs, D]."""
        return cast(torch.nn.Linear, cast(PreTrainedModel, self.model).score)

    def read(self, hidden: Tensor, at: Tensor) -> Tensor:
        """The head's float32 outputs [len(at), outputs] at places `at` of hidden states [T, D]."""
        return torch.nn.functional.linear(hidden.index_select(0, at).float(), self.head.weight.float())

    def scores(self, batch: TokenBatch) -> Tensor:
        """Returns one float32 output per response [R], read at its last token."""
        return self.read(self.hidden(batch), batch.response_last)[:, 0]

    def score_examples(
        self, examples: Sequence[Example], *, token_budget: int = 4096
    ) -> list[NDArray[np.float32]]:
        """Outputs at the responses' ends without gradients: one [responses] array per example, in order."""
        found = self._read_each(examples, lambda b: b.response_last, lambda e: len(e.responses), token_budget)
        return [outputs[:, 0] for outputs in found]

    def step_probabilities(
        self, examples: Sequence[Example], *, token_budget: int = 4096
    ) -> list[NDArray[np.float64]]:
        """P(correct) of every step of every response without gradients: one [steps] array per example.

        Raises:
            InputError: the model does not judge steps.
        """
        if self.reading.kind != "process":
            raise InputError(
                f"a {self.reading.kind} model does not judge steps",
                where=self.name,
                remedy="Train one with the objective `process`.",
            )
        found = self._read_each(
            examples, lambda b: b.step_end, lambda e: sum(len(r.step_ends) for r in e.responses), token_budget
        )
        return [correct(torch.from_numpy(outputs).double()).numpy() for outputs in found]

    def _read_each(
        self,
        examples: Sequence[Example],
        at: Callable[[TokenBatch], Tensor],
        count: Callable[[Example], int],
        budget: int,
    ) -> list[NDArray[np.float32]]:
        """The head's outputs [count, outputs] of every example at the places of a batch that `at` names."""
        return self.read_each(
            examples, lambda batch: self.read(self.hidden(batch), at(batch)), count, token_budget=budget
        )

    def score_texts(self, answers: Sequence[tuple[Prompt, Response]]) -> NDArray[np.float32]:
        """Scores of (prompt, response) pairs, [len(answers)], higher is better whatever the model's kind.

        An empty response is scored as its end of turn; to a process model it is no step, and scores 0.

        Raises:
            InputError: the model compares pairs and has no score for one response.
        """
        if self.reading.kind == "pairwise":
            raise InputError(
                "a pairwise ranker compares two responses and has no score for one",
                where=self.name,
                remedy="Use it as a judge, or train a reward model with `bradley_terry`.",
            )
        if self.reading.kind == "process":
            return self._score_by_steps(answers)
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
        sign = -1.0 if self.reading.kind == "cost" else 1.0
        return np.array([sign * float(s[0]) for s in scores], dtype=np.float32)

    def _score_by_steps(self, answers: Sequence[tuple[Prompt, Response]]) -> NDArray[np.float32]:
        out = np.zeros(len(answers), np.float32)
        examples, places = [], []
        for i, (prompt, response) in enumerate(answers):
            if response.text.strip():
                steps = split_steps(response.text, self.reading.separator)
                prompt_ids, ids, ends = encode_steps(self.chat, prompt, steps)
                examples.append(Example("score", prompt_ids, (EncodedResponse(ids, step_ends=ends),)))
                places.append(i)
        for i, steps_right in zip(places, self.step_probabilities(examples), strict=True):
            out[i] = aggregated(steps_right, self.reading.aggregate)
        return out

    def gaps(self, pairs: Sequence[tuple[Prompt, Response, Response]]) -> NDArray[np.float64]:
        """How much better the first response is than the second, [len(pairs)]; sigmoid of it is a preference.

        A pairwise ranker reads both in one text, in both orders: (s(a, b) - s(b, a)) / 2. Others take the difference of
        two scores. Swapping the responses negates a ranker's answer exactly, in every bit.
        """
        if self.reading.kind == "pairwise":
            swapped = [_canonical(p, a, b) for p, a, b in pairs]
            joint = [joint_example(self.chat, *pair) for pair, _ in swapped]
            outputs = self.score_examples(joint)
            signs = np.array([sign for _, sign in swapped])
            return np.asarray(signs * np.array([(float(s[0]) - float(s[1])) / 2 for s in outputs]))
        scores = self.score_texts([(p, r) for p, a, b in pairs for r in (a, b)]).astype(np.float64)
        return np.asarray(scores[0::2] - scores[1::2])

    def save(self, folder: Path) -> None:
        """Saves a folder that `AutoModelForSequenceClassification` loads, compared after reading back."""
        with self._as_kept() as model:

            def write(staging: Path) -> None:
                model.save_pretrained(staging)
                self.tokenizer.save_pretrained(staging)

            def reload(staging: Path) -> object:
                AutoTokenizer.from_pretrained(staging)
                return AutoModelForSequenceClassification.from_pretrained(staging, dtype="auto")

            save_folder(folder, write, dict(model.state_dict()), reload=reload)

    @contextmanager
    def _as_kept(self) -> Iterator[PreTrainedModel]:
        """The model with the outputs that are kept, and its reading in the config."""
        model, head = cast(PreTrainedModel, self.model), self.head
        setattr(model.config, KEY, self.reading.as_dict())
        if self.reading.kept < self.reading.outputs:
            kept = torch.nn.Linear(head.in_features, self.reading.kept, bias=False)
            kept.weight = torch.nn.Parameter(head.weight.detach()[: self.reading.kept].clone())
            model.score = kept
            model.config.num_labels = self.reading.kept
        elif self.reading.outputs == len(PROCESS_LABELS):
            model.config.id2label = PROCESS_LABELS
            model.config.label2id = {name: i for i, name in PROCESS_LABELS.items()}
        try:
            yield model
        finally:
            model.score = head
            model.config.num_labels = self.reading.outputs


def _canonical(prompt: Prompt, a: Response, b: Response) -> tuple[tuple[Prompt, Response, Response], float]:
    """One order of a pair and the sign to undo it: swapped pairs are the same computation, to the last bit."""
    return ((prompt, a, b), 1.0) if (a.text, a.finish_reason) <= (b.text, b.finish_reason) else ((prompt, b, a), -1.0)
