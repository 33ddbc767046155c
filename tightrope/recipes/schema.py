"""What a recipe may say.

A recipe is YAML: a start model and stages that run in order. A stage either makes preference records with a model
(`method: feedback`) or learns from records (any objective or preset of `tightrope methods`). `@name` stands for what
an earlier stage made: its model, or its data. Unknown keys are errors with a suggestion; everything is checked before
anything runs, the settings of objectives included.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from tightrope.models.precision import AnyDtype
from tightrope.training.loop import LoopSettings
from tightrope.training.optim import OptimiserSettings
from tightrope.training.token_rewards import RolloutSettings

STAGE_NAME = r"^[a-z0-9][a-z0-9_.-]{0,40}$"


class Section(BaseModel):
    """Strict base: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSpec(Section):
    """Records to read."""

    path: str = Field(description="File, folder, hub id, `@stage` (what that stage made), `demo:train` or `gym:TASK`.")
    split: str = Field("train", description="Split of a hub or local data set.")
    limit: int | None = Field(None, ge=1, description="Use at most this many records, chosen by the seed.")
    tags: tuple[str, ...] = Field((), description="Keep only records whose prompt has one of these tags.")


class LoraSpec(Section):
    """Low-rank adapters instead of full fine-tuning."""

    rank: int = Field(16, ge=1, description="Rank of the adapters; 8 to 64.")
    alpha: float = Field(32.0, gt=0, description="Scale numerator; the scale is alpha / rank.")
    bits: Literal[4] | None = Field(
        None, description="4: hold the frozen base in four bits (QLoRA; pip install 'tightrope[qlora]')."
    )


class SamplingSpec(Section):
    """How responses are drawn."""

    temperature: float = Field(1.0, ge=0, description="0 is greedy; 0.7 to 1.")
    top_p: float = Field(1.0, gt=0, le=1, description="Nucleus size; 1 keeps every token.")
    top_k: int = Field(0, ge=0, description="Keep the k likeliest tokens; 0 keeps all.")
    max_tokens: int = Field(64, ge=1, description="Tokens a response may have.")


class AnsweringSpec(SamplingSpec):
    """How models answer when they are measured: as in `tightrope evaluate`.

    At temperature 1 a small model's answers are noise, and so is what is measured on them.
    """

    temperature: float = Field(0.7, ge=0, description="0 is greedy; 0.7 to 1.")
    max_tokens: int = Field(96, ge=1, description="Tokens a response may have.")


class Guidance(Section):
    """Extra samples drawn under an instruction that the trained prompt will not have.

    The model's own text, steered: principles in the manner of Bai et al. 2022 (2212.08073) and Castricato et al.
    2024 (2402.07896).
    """

    tags: tuple[str, ...] = Field((), description="Only prompts with one of these tags; empty: all.")
    instruction: str = Field("", description="Put before the last user turn while sampling.")
    prefix: str = Field("", description="The answer is begun with this text; the model writes the rest.")
    samples: int = Field(1, ge=1, description="Responses drawn this way per prompt.")


class FeedbackStage(Section):
    """Sample n responses per prompt, judge them, keep comparisons and best responses."""

    name: str = Field(pattern=STAGE_NAME, description="Folder of the stage.")
    method: Literal["feedback"]
    model: str | None = Field(None, description="Who answers; default: the newest policy so far.")
    prompts: DataSpec = Field(description="What to ask.")
    samples: int = Field(4, ge=1, description="Responses per prompt.")
    sampling: SamplingSpec = Field(default_factory=lambda: SamplingSpec(), description="How they are drawn.")
    guidance: tuple[Guidance, ...] = Field((), description="Further, steered samples.")
    answers: str | None = Field(
        None, description="Judge what an earlier feedback `@stage` sampled; sample nothing."
    )
    judge: str = Field("rule:useful", description="Judge spec; both orders are asked.")
    pairs: Literal["best_worst", "all"] = Field(
        "best_worst", description="Which judged pairs become comparisons."
    )
    pairs_per_prompt: int = Field(1, ge=1, description="At most this many comparisons per prompt.")
    verified: bool = Field(
        False, description="Chosen and best answers must pass their prompt's verifier, where it has one."
    )


class PtxSpec(Section):
    """Demonstrations whose log-likelihood is raised beside the reward, so that what they show is not unlearnt.

    PPO-ptx of Ouyang et al. 2022, 2203.02155, equation 2; there they are pre-training text.
    """

    data: tuple[DataSpec, ...] = Field(min_length=1, description="Demonstrations.")
    weight: float = Field(1.0, gt=0, allow_inf_nan=False, description="Of their mean NLL a token, beside PPO's loss.")
    batch_size: int = Field(8, ge=1, description="Demonstrations per optimiser step.")


class TrainStage(Section):
    """Learn from records, or from the policy's own judged samples."""

    name: str = Field(pattern=STAGE_NAME, description="Folder of the stage.")
    method: str = Field(description="An objective or a preset; see `tightrope methods`.")
    model: str | None = Field(None, description="Where to start; default: the newest policy so far.")
    reference: str | None = Field(None, description="Frozen reference; default: where the stage starts.")
    data: tuple[DataSpec, ...] = Field((), description="Records to learn from (offline methods).")
    desirable_above: float | None = Field(
        None, allow_inf_nan=False, description="Ratings given as scores: above this they are desirable."
    )
    holdout: float = Field(
        0.1, ge=0, lt=1, description="Share of the prompts a reward model is measured on and does not learn."
    )
    prompts: DataSpec | None = Field(None, description="What to ask (online methods).")
    reward: tuple[RewardTerm, ...] = Field((), description="What a response is worth (online methods).")
    objective: dict[str, Any] = Field(default_factory=dict, description="Settings of the objective.")
    optimiser: OptimiserSettings = Field(
        default_factory=lambda: OptimiserSettings(), description="How weights move."
    )
    loop: LoopSettings = Field(
        default_factory=lambda: LoopSettings(), description="Micro-batches, checkpoints, traces."
    )
    rollouts: RolloutSettings = Field(
        default_factory=lambda: RolloutSettings(), description="Sampling and rewards of PPO."
    )
    ptx: PtxSpec | None = Field(None, description="Demonstrations that PPO goes on to learn from; default: none.")
    lora: LoraSpec | None = Field(None, description="Train adapters instead of all weights.")
    gradient_checkpointing: bool = Field(
        False, description="Recompute activations: less memory, a third slower."
    )
    batch_size: int = Field(16, ge=1, description="Prompts (bundles) per optimiser step.")
    epochs: int = Field(1, ge=1, description="Passes over the data.")
    max_steps: int | None = Field(None, ge=1, description="Stop after this many optimiser steps.")
    max_tokens: int = Field(1024, ge=8, description="Longest bundle; longer ones are dropped and counted.")

    @property
    def all_data(self) -> tuple[DataSpec, ...]:
        """Records of every kind that the stage reads."""
        return (*self.data, *(self.ptx.data if self.ptx else ()))


class RewardTerm(Section):
    """One part of a reward; parts are added."""

    source: str = Field(
        description="`@stage` or folder of a reward model, `worst:@a,@b` or any other scorer, or `verifier`."
    )
    weight: float = Field(1.0, description="Multiplies the part.")
    normalise: bool | Literal["batch"] = Field(
        True,
        description="Reward models only: shift and scale to mean 0, deviation 1: by samples of the start model, once; "
        "or with `batch` by the answers of each iteration (Llama 2's whitening; their mean in the trace is then 0).",
    )


TrainStage.model_rebuild()


def _kind(value: Any) -> str:
    method = value.get("method") if isinstance(value, Mapping) else getattr(value, "method", None)
    return "feedback" if method == "feedback" else "train"


Stage = Annotated[
    Annotated[FeedbackStage, Tag("feedback")] | Annotated[TrainStage, Tag("train")], Discriminator(_kind)
]


class EvaluationSpec(Section):
    """What is measured at the end of a run."""

    prompts: DataSpec = Field(description="Held-out prompts.")
    judge: str = Field("rule:useful", description="Judge spec of the win rates.")
    sampling: AnsweringSpec = Field(
        default_factory=lambda: AnsweringSpec(), description="How both models answer."
    )
    drift_prompts: int | None = Field(
        None, ge=10, description="Measure KL on this many of the prompts, drawn by the seed; default: all."
    )
    models: tuple[str, ...] = Field((), description="`@stage`s to measure; default: the last policy.")
    shown: tuple[str, ...] = Field(
        (), description="`@stage`s measured and drawn too, decided each alone: the run makes no claim of them."
    )
    against: str | None = Field(None, description="The reference; default: the start model.")
    snapshots: bool = Field(False, description="Also measure the snapshots those stages kept (`snapshot_every`).")


class Recipe(Section):
    """A whole run."""

    name: str = Field(pattern=STAGE_NAME, description="Folder under `output`.")
    model: str = Field("embedded", description="Start model: `embedded`, a folder or a hub id.")
    dtype: AnyDtype = Field(
        "float32", description="Weights and computation; `auto` is bfloat16 where the machine is fast at it."
    )
    device: str = Field(
        "auto", pattern=r"^(auto|cpu|cuda(:(0|[1-9]\d*))?)$", description="`auto`, `cpu`, `cuda` or `cuda:1`."
    )
    seed: int = Field(0, ge=0, description="Of everything.")
    output: str = Field("runs", description="Where runs are kept.")
    stages: tuple[Stage, ...] = Field(min_length=1, description="Run in order.")
    evaluation: EvaluationSpec | None = Field(None, description="Measured at the end.")
