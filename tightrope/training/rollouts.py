"""The PPO source: sample with the current policy, score, give every token its advantage.

One iteration samples `prompts_per_iteration x samples_per_prompt` responses with the current policy, and serves
`epochs x minibatches` optimiser steps from them; what a token's reward and advantage are is in `token_rewards`.

`rollout_logprobs` are recomputed with the training forward, so the first ratio is 1 whatever the sampler computes in;
the sampler's own log-probs are compared with them, and a mean token error above 1.05x stops the run.
What was made is kept in `data/rollouts.jsonl`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tightrope.data.batch import TokenBatch
from tightrope.data.example import EncodedResponse, Example
from tightrope.errors import InputError, WorkError
from tightrope.files import append_jsonl, cut_jsonl
from tightrope.models.heads import ScalarHead
from tightrope.models.policy import Policy
from tightrope.objectives.kl import KLController
from tightrope.records import Prompt, Response, Sampled, prompt_id, to_json
from tightrope.rewards.types import Scoring
from tightrope.rollouts.local import sample
from tightrope.rollouts.types import SampleRequest, SamplingParams
from tightrope.training.processes import by_the_first
from tightrope.training.token_rewards import RolloutSettings, after_penalties, with_advantages

MISMATCH_LIMIT = 1.05


class RolloutSource:
    """Examples made by the policy that is being trained.

    Args:
        policy: samples and is trained.
        value_head: values for the advantages.
        reference_logprobs: log-probs of examples under the frozen reference, at the sampling temperature.
        score: reward of (prompt, response) pairs.
        prompts: what to ask; visited in a seeded order, all before any again.
        settings: see `RolloutSettings`.
        seed: of the prompt order, the samples and the minibatches.
        folder: of the stage; responses go to `data/rollouts.jsonl`.
    """

    def __init__(
        self,
        policy: Policy,
        value_head: ScalarHead,
        reference_logprobs: Callable[[Sequence[Example]], list[NDArray[np.float32]]],
        score: Scoring,
        prompts: Sequence[Prompt],
        settings: RolloutSettings,
        *,
        seed: int,
        folder: Path,
    ) -> None:
        if not prompts:
            raise InputError("no prompt to sample from", remedy="Give the stage prompts.")
        if settings.minibatches > settings.prompts_per_iteration:
            raise InputError(
                f"{settings.minibatches} minibatches of {settings.prompts_per_iteration} prompts",
                where="rollouts.minibatches",
                remedy="Use at most one minibatch per prompt.",
            )
        self.policy, self.value_head = policy, value_head
        self._reference, self._score = reference_logprobs, score
        self._prompts, self.settings, self._seed = list(prompts), settings, seed
        self._log = folder / "data" / "rollouts.jsonl"
        self._steps_per_iteration = settings.epochs * settings.minibatches
        self.steps = settings.iterations * self._steps_per_iteration
        self._iteration = -1
        self._examples: list[Example] = []
        self._metrics: dict[str, float] = {}
        self._controller = KLController(settings.kl_coefficient, settings.kl_target, settings.kl_horizon)

    def examples(self, step: int) -> list[Example]:
        """Returns the minibatch of optimiser step `step`, sampling first when an iteration begins."""
        iteration, inner = divmod(step, self._steps_per_iteration)
        if iteration != self._iteration:
            self._examples, self._metrics, self._controller.coefficient = by_the_first(
                lambda: (self._make(iteration), self._metrics, self._controller.coefficient)
            )
            self._iteration = iteration
        epoch, minibatch = divmod(inner, self.settings.minibatches)
        order = np.random.default_rng([self._seed, iteration, epoch]).permutation(len(self._examples))
        part = np.array_split(order, self.settings.minibatches)[minibatch]
        return [self._examples[i] for i in part]

    def metrics(self) -> dict[str, float]:
        """Returns the current iteration's rollout figures."""
        return self._metrics

    def may_checkpoint(self, step: int) -> bool:
        """Between iterations only: the responses of an iteration belong to the policy that sampled them."""
        return step % self._steps_per_iteration == 0

    def state(self) -> dict[str, Any]:
        """The controller's coefficient; prompts and samples follow from seed and step."""
        return {"kl_coefficient": self._controller.coefficient}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes over an earlier coefficient."""
        self._controller.coefficient = float(state["kl_coefficient"])

    def _chosen(self, iteration: int) -> list[Prompt]:
        """The iteration's prompts: every prompt once before any again."""
        size, total = self.settings.prompts_per_iteration, len(self._prompts)
        picked = []
        for at in range(iteration * size, (iteration + 1) * size):
            lap, place = divmod(at, total)
            order = np.random.default_rng([self._seed, 1, lap]).permutation(total)
            picked.append(self._prompts[order[place]])
        return picked

    def _make(self, iteration: int) -> list[Example]:
        s = self.settings
        prompts = self._chosen(iteration)
        requests = [
            SampleRequest(prompt, n=s.samples_per_prompt, seed=_seed(self._seed, iteration, i))
            for i, prompt in enumerate(prompts)
        ]
        params = SamplingParams(temperature=s.temperature, max_tokens=s.max_tokens)
        responses = sample(self.policy, requests, params)
        examples = [self._encode(p, group) for p, group in zip(prompts, responses, strict=True)]
        flat = [(p, r) for p, group in zip(prompts, responses, strict=True) for r in group]
        raw = np.asarray(self._score(flat), dtype=np.float64)
        if not np.isfinite(raw).all():
            raise WorkError(
                "a reward is not finite", where=f"iteration {iteration}", remedy="Check the reward model."
            )
        ended = np.array([r.finish_reason == "stop" for _, r in flat])
        scores = after_penalties(raw, ended, s)
        logprobs, values = self._read(examples)
        references = self._reference(examples)
        self._check_sampler(responses, logprobs, iteration)
        coefficient = self._controller.coefficient
        made = with_advantages(examples, scores, logprobs, references, values, s, coefficient)
        kl_mean = float(np.mean(made.sequence_kls))
        self._metrics = {
            "iteration": iteration,
            "score": float(raw.mean()),
            "score_std": float(raw.std()),
            "rlhf_reward": float(scores.mean()) - coefficient * kl_mean,
            "kl_sequence": kl_mean,
            "kl_token": made.token_kl,
            "kl_coefficient": coefficient,
            "eos_rate": float(ended.mean()),
            "response_tokens": float(np.mean([len(r.token_ids) for _, r in flat])),
            "identical_samples": _identical(responses),
        }
        self._controller.update(kl_mean, len(flat))
        self._keep(iteration, flat, raw, made.sequence_kls)
        return made.examples

    def _encode(self, prompt: Prompt, group: Sequence[Response]) -> Example:
        prompt_ids = self.policy.chat.prompt_ids(prompt.messages)
        return Example(
            key=prompt_id(prompt),
            prompt_ids=tuple(prompt_ids),
            responses=tuple(EncodedResponse(r.token_ids) for r in group),
        )

    def _read(
        self, examples: Sequence[Example]
    ) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
        """Log-probs and values of every response token with the training forward, without gradients."""

        def both(batch: TokenBatch) -> Tensor:
            hidden = self.policy.hidden(batch)
            out = self.policy.logprobs_of(hidden, batch, temperature=self.settings.temperature)
            return torch.stack([out.logprobs, self.value_head(hidden.index_select(0, batch.source))], 1)

        found = self.policy.read_each(examples, both, lambda example: example.learned, token_budget=4096)
        return [x[:, 0] for x in found], [x[:, 1] for x in found]

    def _check_sampler(
        self, responses: Sequence[Sequence[Response]], logprobs: Sequence[NDArray[np.float32]], iteration: int
    ) -> None:
        sampled = np.array([x for group in responses for r in group for x in r.logprobs])
        error = float(np.exp(np.abs(np.concatenate(logprobs) - sampled)).mean())
        if not error <= MISMATCH_LIMIT:
            raise WorkError(
                f"sampler and trainer disagree: mean token error {error:.3f}x (limit {MISMATCH_LIMIT}x)",
                where=f"iteration {iteration}",
                remedy="Use float32, or check temperature and chat template on both sides.",
            )

    def _keep(
        self,
        iteration: int,
        flat: Sequence[tuple[Prompt, Response]],
        scores: NDArray[np.float64],
        kls: Sequence[float],
    ) -> None:
        if self._iteration < 0:  # this process begins here: what a killed one made from here on is made again
            cut_jsonl(self._log, lambda row: row["iteration"] < iteration)
        append_jsonl(
            self._log,
            (
                {"iteration": iteration, **to_json(Sampled(p, r)), "score": float(score), "kl": kl}
                for (p, r), score, kl in zip(flat, scores, kls, strict=True)
            ),
        )


def _identical(responses: Sequence[Sequence[Response]]) -> float:
    """Share of responses that another response to the same prompt repeats word for word."""
    repeated = sum(len(g) - len({r.text for r in g}) for g in responses)
    return repeated / max(1, sum(len(g) for g in responses))


def _seed(seed: int, iteration: int, index: int) -> int:
    """A seed of its own for every request of every iteration."""
    return int(np.random.SeedSequence([seed, iteration, index]).generate_state(1)[0])
