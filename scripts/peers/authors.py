"""Code of a method's authors: PairRM, NCA on rewarded responses, the cost model of Safe RLHF."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from peers.notebook import Notebook, each, f64
from torch import Tensor


def llm_blender(book: Notebook) -> None:
    by = "llm-blender 0.0.2"
    loss = book.taken(by, "pair_ranker/pairrm.py", "DebertaV2PairRM.compute_loss")

    def both_orders(first: Tensor, swapped: Tensor) -> Tensor:
        return (loss(None, first, 0 * first, f64([1.0])) + loss(None, swapped, 0 * swapped, f64([-1.0]))) / 2

    book.record(
        *("pairwise", {}, by, "scores"),
        lambda s: each(both_orders, s[0::2], s[1::2]),
        "the mean over both orders, our score against 0; float32",
    )


def noise_contrastive(book: Notebook) -> None:
    by = "thu-ml/Noise-Contrastive-Alignment"
    nca = book.taken(by, "reward_trainer.py", "NCATrainer.nca_loss")
    rewards = book.column("rewarded", "rewards").reshape(2, 4) - f64([0.01, 0, 0, 0])

    def losses(logprobs: Tensor, **trainer: Any) -> Tensor:
        policy, reference = (side.reshape(2, 4) for side in book.responses("rewarded", logprobs))

        def one(score: Tensor, p: Tensor, r: Tensor) -> Tensor:
            return nca(SimpleNamespace(**trainer), {f"A{i}_score": s for i, s in enumerate(score.T)}, *p.T, *r.T)[0]

        return each(one, rewards, policy, reference)

    for form in ("NCA", "InfoNCA"):
        for beta, alpha in ((0.01, 1.0), (0.3, 0.5)):
            settings = {"form": form.lower(), "beta": beta, "alpha": alpha}
            theirs = {"loss_type": form, "beta": beta, "temperature_alpha": alpha}
            note = "without the 0.01 that theirs adds to the first response's reward"
            book.record("nca_kwise", settings, by, "rewarded", lambda x, t=theirs: losses(x, **t), note)


def safe_rlhf(book: Notebook) -> None:
    by = "UMass-SCALAR-Lab/HC-RLHF"  # a fork of PKU-Alignment/safe-rlhf
    loss = book.taken(by, "safe_rlhf/values/cost/trainer.py", "CostTrainer.loss")
    signs, ids = -book.column("safety", "labels"), torch.zeros(1, 1)  # theirs is +1 for safe

    def one(harmful: Tensor, safer: Tensor, harmful_sign: Tensor, safer_sign: Tensor) -> Tensor:
        costs = torch.stack((safer, harmful))
        output = SimpleNamespace(scores=costs[:, None], end_scores=costs)
        arguments = SimpleNamespace(loss_type="sequence-wise", regularization=0.0)
        trainer = SimpleNamespace(model=lambda *_, **__: output, args=arguments)
        return loss(trainer, ids, ids, safer_sign, ids, ids, harmful_sign)["loss"]

    book.record("cost", {}, by, "safety", lambda s: each(one, s[0::2], s[1::2], signs[0::2], signs[1::2]))
