"""The policy: a causal language model read through packed bundles.

`hidden` runs the backbone once over a packed batch with tree attention, `token_logprobs` reads the
learnt tokens from it. At start-up `probe` compares both with a plain forward of the same model; where an
architecture cannot do tree attention the policy falls back, visibly, to one padded row per
branch: slower, same numbers, same batch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from tightrope.data.batch import EncodedResponse, Example, TokenBatch, pack
from tightrope.data.chat import ChatFormat
from tightrope.errors import InputError
from tightrope.models import loading
from tightrope.models.attention import BranchRows, TreeAttention, install, no_mask
from tightrope.models.logprobs import OutputHead, TokenLogprobs, token_logprobs
from tightrope.models.precision import Dtype
from tightrope.models.quantised import dequantised, four_bit, is_quantised
from tightrope.models.saving import save_folder


@dataclass(frozen=True)
class LoraSettings:
    """Low-rank adapters (Hu et al. 2021, 2106.09685) on all linear layers but the head.

    Attributes:
        rank: of the adapters.
        alpha: scale numerator; the scale is alpha / rank.
        dropout: before the adapters; 0, or log-probs of two passes are not comparable.
        bits: 4 holds the frozen base in four bits, see `quantised`; None leaves it as it is.
    """

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    bits: Literal[4] | None = None


class Trunk:
    """A transformer's backbone over packed bundles; what policy and reward model share.

    Attributes:
        model: the transformers model (wrapped by peft when it has adapters).
        takes_layouts: whether the architecture calls our attention function at all.
        shares_prompts: whether tree attention is in use; False after a fallback.
        fallback_line: what to show when the fallback was taken.
    """

    def __init__(self, model: PreTrainedModel | PeftModel) -> None:
        self.model = model
        inner = cast(PreTrainedModel, model.get_base_model() if isinstance(model, PeftModel) else model)
        self.config = inner.config
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
        if noise is None:
            return self._hidden(batch)
        added = noise
        if not self.shares_prompts:
            added = noise[BranchRows.of(batch.layout).gather.to(noise.device)]
        embeddings = self.model.get_input_embeddings()
        hook = embeddings.register_forward_hook(lambda module, inputs, out: out + added.to(out.dtype))
        try:
            return self._hidden(batch)
        finally:
            hook.remove()

    def _hidden(self, batch: TokenBatch) -> Tensor:
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
        rows = BranchRows.of(batch.layout)
        gather = rows.gather.to(batch.input_ids.device)
        out = run(
            input_ids=batch.input_ids[gather],
            position_ids=batch.positions[gather],
            attention_mask=(torch.arange(gather.shape[1])[None] < rows.lengths[:, None]).to(gather.device),
            use_cache=False,
        )
        return cast(Tensor, out.last_hidden_state).flatten(0, 1)[rows.scatter.to(gather.device)]

    def probe(self, example: Example, *, tolerance: float) -> str | None:
        """Compares packed hidden states with a plain forward; falls back when they differ.

        Args:
            example: a bundle with at least two responses.
            tolerance: largest accepted absolute difference, relative to the states' root mean square.

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
        difference = float((packed - plain).abs().max() / plain.float().pow(2).mean().sqrt())
        if not difference <= tolerance:
            return self._fallback(f"tree attention is off by {difference:.2g} of the hidden states' size")
        self.shares_prompts = True
        return None

    def probe_with(self, chat: ChatFormat) -> None:
        """Probes with a sentence, as strictly as the type of the weights allows, and keeps the line to show."""
        exact = next(p for p in self.model.parameters() if p.is_floating_point()).dtype == torch.float32
        self.fallback_line = self.probe(probe_example(chat), tolerance=1e-3 if exact else 0.3)

    def _fallback(self, why: str) -> str:
        self.shares_prompts = False
        return f"prompts are not shared: {why}; every branch runs as a padded row of its own"


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
        policy = cls(model, tokenizer, name)
        if gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
            model.train()  # transformers checkpoints in training mode only; dropout is off
        policy.probe_with(policy.chat)
        if lora is not None:
            policy._add_adapters(lora, gradient_checkpointing)
        return policy

    def _add_adapters(self, lora: LoraSettings, gradient_checkpointing: bool) -> None:
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        settings = LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,  # type: ignore[arg-type]
            lora_dropout=lora.dropout,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
        self.model = cast(PeftModel, get_peft_model(cast(PreTrainedModel, self.model), settings))
        if gradient_checkpointing:
            self.model.enable_input_require_grads()

    @property
    def head(self) -> OutputHead:
        """The live output head."""
        inner = self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model
        return OutputHead.of(cast(PreTrainedModel, inner))

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
        out: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(examples)
        for group in pack([e.tokens for e in examples], token_budget):
            batch = TokenBatch.from_examples([_bare(examples[i]) for i in group], self.device)
            with torch.no_grad():
                logprobs = self.token_logprobs(batch, temperature=temperature).logprobs.cpu().numpy()
            at = 0
            for i in group:
                out[i] = logprobs[at : at + examples[i].learned].copy()
                at += examples[i].learned
            if progress:
                progress(len(group))
        return out

    @contextmanager
    def adapters_disabled(self) -> Iterator[None]:
        """The frozen start model, when the policy is that model plus adapters."""
        if not isinstance(self.model, PeftModel):
            raise InputError(
                "the policy has no adapters to disable",
                where=self.name,
                remedy="Load a second, frozen policy as the reference.",
            )
        with self.model.disable_adapter():
            yield

    @property
    def has_adapters(self) -> bool:
        """Whether only low-rank adapters are trained."""
        return isinstance(self.model, PeftModel)

    def save(self, folder: Path) -> None:
        """Saves a plain Hugging Face folder (adapters merged in; also kept in `adapter/`).

        Raises:
            WorkError: a weight is NaN, no space, or the folder read back differs from memory; an older folder stays.
        """
        adapters = self.model if isinstance(self.model, PeftModel) else None
        plain = self.model
        if adapters is not None and is_quantised(adapters.get_base_model()):
            plain = dequantised(adapters)
        elif adapters is not None:
            plain = copy.deepcopy(adapters).merge_and_unload()
        model = cast(PreTrainedModel, plain)

        def write(staging: Path) -> None:
            _save_plain(model, self.tokenizer, staging)
            if adapters is not None:
                adapters.save_pretrained(str(staging / "adapter"))

        def reload(staging: Path) -> object:
            AutoTokenizer.from_pretrained(staging)
            return AutoModelForCausalLM.from_pretrained(staging, dtype="auto")

        save_folder(folder, write, dict(model.state_dict()), reload=reload)


def _save_plain(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _bare(example: Example) -> Example:
    """The example without its columns: examples of one batch need not agree on them."""
    return Example(key=example.key, prompt_ids=example.prompt_ids, responses=example.responses)


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
