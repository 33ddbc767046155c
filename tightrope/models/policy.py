"""The policy: a causal language model, and the log-probabilities of what it answers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from tightrope.data.batch import TokenBatch
from tightrope.data.chat import ChatFormat
from tightrope.data.example import Example
from tightrope.errors import InputError
from tightrope.models import loading
from tightrope.models.logprobs import OutputHead, TokenLogprobs, token_logprobs
from tightrope.models.low_rank import compute_in_the_base_type
from tightrope.models.precision import Dtype
from tightrope.models.quantised import dequantised, four_bit, is_quantised, keep_exact
from tightrope.models.saving import save_folder
from tightrope.models.trunk import Trunk

if TYPE_CHECKING:
    from peft import PeftModel


@dataclass(frozen=True)
class LoraSettings:
    """Low-rank adapters (Hu et al. 2021, 2106.09685) on all linear layers but the head.

    Attributes:
        rank: of the adapters.
        alpha: scale numerator; the scale is alpha / rank.
        bits: 4 holds the frozen base in four bits, see `quantised`; None leaves it as it is.
    """

    rank: int = 16
    alpha: float = 32.0
    bits: Literal[4] | None = None


class Policy(Trunk):
    """A language model that answers, and the log-probabilities of what it answers."""

    def __init__(
        self, model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, name: str
    ) -> None:
        super().__init__(model)
        self.tokenizer = tokenizer
        self.name = name
        eos = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
        extra = eos if isinstance(eos, list) else [] if eos is None else [eos]
        self.chat = ChatFormat(tokenizer, extra)

    @classmethod
    def load(
        cls,
        spec: str,
        *,
        dtype: Dtype = "float32",
        lora: LoraSettings | None = None,
        gradient_checkpointing: bool = False,
        device: torch.device | str = "cpu",
    ) -> Policy:
        """Loads a policy and probes it.

        Args:
            spec: `embedded`, a folder, or a hub id.
            dtype: type of the weights and the computation; float32 masters are the optimiser's business.
            lora: train low-rank adapters instead of all weights.
            gradient_checkpointing: recompute activations in the backward pass.
            device: where to put the model.

        Raises:
            InputError: the model or its tokenizer cannot be used; see `loading` and `ChatFormat`.
        """
        tokenizer = loading.load_tokenizer(spec)
        quantised = four_bit(loading.DTYPES[dtype], device) if lora is not None and lora.bits else {}
        model = loading.load_model(AutoModelForCausalLM, spec, dtype, device, **quantised)
        return cls.of(model, tokenizer, spec, lora=lora, gradient_checkpointing=gradient_checkpointing)

    @classmethod
    def of(
        cls,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        name: str,
        *,
        lora: LoraSettings | None = None,
        gradient_checkpointing: bool = False,
    ) -> Policy:
        """Makes a policy of a model in memory and probes it; see `load`."""
        if is_quantised(model):
            keep_exact(model)  # before the probes, which read without gradients
        policy = cls(model, tokenizer, name)
        if gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
            model.train()  # transformers checkpoints in training mode only; dropout is off
        policy.probe_with(policy.chat)
        if lora is not None:
            policy._add_adapters(lora, gradient_checkpointing)
        return policy

    def _add_adapters(self, lora: LoraSettings, gradient_checkpointing: bool) -> None:
        from peft import LoraConfig, get_peft_model

        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        settings = LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,  # type: ignore[arg-type]
            lora_dropout=0.0,  # or log-probs of two passes are not comparable
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
        self.model = cast("PeftModel", get_peft_model(cast(PreTrainedModel, self.model), settings))
        compute_in_the_base_type(self.model)
        if gradient_checkpointing:
            self.model.enable_input_require_grads()

    @property
    def head(self) -> OutputHead:
        """The live output head."""
        return OutputHead.of(loading.below_adapters(self.model))

    def token_logprobs(
        self, batch: TokenBatch, *, temperature: float = 1.0, entropy: bool = False
    ) -> TokenLogprobs:
        """Log-probabilities of the batch's learnt tokens [N]; see `logprobs.token_logprobs`."""
        return self.logprobs_of(self.hidden(batch), batch, temperature=temperature, entropy=entropy)

    def logprobs_of(
        self,
        hidden: Tensor,
        batch: TokenBatch,
        *,
        temperature: float = 1.0,
        entropy: bool = False,
        collision: bool = False,
    ) -> TokenLogprobs:
        """The same from hidden states [T, D] that other heads read too."""
        return token_logprobs(
            hidden,
            self.head,
            batch.source,
            batch.target,
            temperature=temperature,
            entropy=entropy,
            collision=collision,
        )

    def score_tokens(
        self,
        examples: Sequence[Example],
        *,
        temperature: float = 1.0,
        token_budget: int = 4096,
        progress: Callable[[int], None] | None = None,
    ) -> list[NDArray[np.float32]]:
        """Log-probabilities without gradients, one [learned tokens] array per example, in order."""
        return self.read_each(
            examples,
            lambda batch: self.token_logprobs(batch, temperature=temperature).logprobs,
            lambda example: example.learned,
            token_budget=token_budget,
            progress=progress,
        )

    @contextmanager
    def adapters_disabled(self) -> Iterator[None]:
        """The frozen start model, when the policy is that model plus adapters."""
        if not self.has_adapters:
            raise InputError(
                "the policy has no adapters to disable",
                where=self.name,
                remedy="Load a second, frozen policy as the reference.",
            )
        with cast("PeftModel", self.model).disable_adapter():
            yield

    @property
    def has_adapters(self) -> bool:
        """Whether only low-rank adapters are trained."""
        return loading.has_adapters(self.model)

    def save(self, folder: Path) -> None:
        """Saves a plain Hugging Face folder (adapters merged in; also kept in `adapter/`).

        Raises:
            WorkError: a weight is NaN, no space, or the folder read back differs from memory; an older folder stays.
        """
        adapters = cast("PeftModel", self.model) if self.has_adapters else None
        plain = self.model
        if adapters is not None and is_quantised(adapters.get_base_model()):
            plain = dequantised(adapters)
        elif adapters is not None:
            plain = copy.deepcopy(adapters).merge_and_unload()
        model = cast(PreTrainedModel, plain)

        def write(staging: Path) -> None:
            model.save_pretrained(staging)
            self.tokenizer.save_pretrained(staging)
            if adapters is not None:
                adapters.save_pretrained(str(staging / "adapter"))

        def reload(staging: Path) -> object:
            AutoTokenizer.from_pretrained(staging)
            return AutoModelForCausalLM.from_pretrained(staging, dtype="auto")

        save_folder(folder, write, dict(model.state_dict()), reload=reload)
