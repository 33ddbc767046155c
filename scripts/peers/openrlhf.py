"""OpenRLHF 0.8.5: DPO and its smoothing, IPO on sums, a margin, process and outcome models, PPO."""

from __future__ import annotations

import torch
from peers.notebook import Notebook, each
from torch import Tensor
from torch.nn.functional import pad


def openrlhf(book: Notebook) -> None:
    by, path = "openrlhf 0.8.5", "openrlhf/models/loss.py"
    dpo = book.taken(by, path, "DPOLoss")
    for method, beta, smoothing in (("dpo", 0.1, 0.0), ("cdpo", 0.1, 0.1), ("cdpo", 0.5, 0.3)):
        settings = {"beta": beta, **({"label_smoothing": smoothing} if smoothing else {})}
        theirs = dpo(beta, smoothing)
        book.record(method, settings, by, "pairs", lambda x, f=theirs: each(f, *book.pairs(x)))
    for tau in (0.1, 0.5):
        theirs = dpo(tau, ipo=True)
        book.record("ipo-sum", {"tau": tau}, by, "pairs", lambda x, f=theirs: each(f, *book.pairs(x)))
    book.record(
        *("gpo", {"loss": "squared", "beta": 0.1}, by, "pairs"),
        lambda x: 0.1**2 * each(dpo(0.1 / 2, ipo=True), *book.pairs(x)),
        "their IPO at beta / 2, times beta squared",
    )
    mean, there = book.taken(by, "openrlhf/models/utils.py", "masked_mean"), book.column("pairs", "response") >= 0
    for normaliser in ("tokens", "sequence"):
        theirs = book.taken(by, path, "SFTLoss", masked_mean=mean)(token_level_loss=normaliser == "tokens")
        book.record(
            *("nll_chosen", {"nll_normaliser": normaliser}, by, "pairs"),
            lambda x, f=theirs: f(*(book.padded("pairs", column, range(0, 10, 2)) for column in (x, there))),
            "their SFT on the chosen responses",
        )
    pairwise, margins = book.taken(by, path, "PairWiseLoss")(), book.column("scores", "margins")
    settings = {"use_margin": True}
    book.record("bradley_terry", settings, by, "scores", lambda s: each(pairwise, s[0::2], s[1::2], margins))


def openrlhf_steps(book: Notebook) -> None:
    """Token 0 ends a step; tokens 1, 2 and 3 are what a step may be called, worst first."""
    by, path = "openrlhf 0.8.5", "openrlhf/models/loss.py"
    prm = book.taken(by, path, "PRMLoss")

    def process(logits: Tensor, called: Tensor, tokens: list[int]) -> Tensor:
        loss, place = prm(0, tokens), torch.zeros(1, 1, dtype=torch.long)
        return each(lambda z, c: loss(place, pad(z, (1, 3 - z.shape[1]))[None], c[None]), logits, called)

    def binary(scores: Tensor) -> Tensor:
        """A logit w as the two logits 0 and w of wrong and right."""
        return torch.stack((torch.zeros_like(scores), scores), dim=1)

    right = 1 + (book.column("steps", "step_labels") > 0).long()
    book.record("process", {"outputs": 1}, by, "steps", lambda z: process(binary(z[:, 0]), right, [1, 2]))
    name = "steps, three outputs"
    three = 2 + book.column(name, "step_labels").long()
    book.record("process", {"outputs": 3}, by, name, lambda z: process(z, three, [1, 2, 3]))
    owner, labels = book.column("solutions", "response"), book.column("solutions", "labels")
    token_labels = 1 + (labels[owner] > 0).long()

    def solution(logits: Tensor, called: Tensor) -> Tensor:
        return prm(0, [1, 2])(0 * called[None], pad(logits, (1, 1))[None], called[None])

    book.record(
        *("outcome", {}, by, "solutions"),
        lambda w: torch.stack([solution(binary(w[owner == r]), token_labels[owner == r]) for r in range(3)]),
        "their process loss with every token the end of a step",
    )


def openrlhf_ppo(book: Notebook) -> None:
    by, path = "openrlhf 0.8.5", "openrlhf/models/loss.py"
    mean = book.taken(by, "openrlhf/models/utils.py", "masked_mean")
    policy, value = (book.taken(by, path, name, masked_mean=mean)(0.2) for name in ("PolicyLoss", "ValueLoss"))
    names = ("rollout_logprobs", "advantages", "rollout_values", "returns")
    old, advantages, old_values, returns = (book.column("rollout", name)[None] for name in names)
    mask = torch.ones_like(returns)

    def ppo(logprobs: Tensor, values: Tensor) -> Tensor:
        actor = policy(logprobs[None], old, advantages, mask)[0]
        return actor + 0.1 * value(values[None], old_values, returns, mask)

    book.record("ppo", {"value_coefficient": 0.1}, by, "rollout", ppo)
