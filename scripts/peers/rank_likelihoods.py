"""The likelihood of a ranking by packages of statistics. They return numbers: slopes are central differences."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import choix
import numpy as np
import torch
from numpy.typing import NDArray
from peers.notebook import Notebook, f64
from statsmodels.duration.hazard_regression import PHReg
from torch import Tensor

Floats = NDArray[np.float64]
STEP = 1e-5


class _Numeric(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, losses: Callable[[Floats], Floats]) -> Tensor:
        x = scores.numpy()
        ctx.slopes = f64(np.stack([losses(x + d) - losses(x - d) for d in STEP * np.eye(len(x))]) / (2 * STEP))
        return f64(losses(x))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.slopes @ grads[0], None


def _by_prompt(
    book: Notebook, inputs: str, loss: Callable[[Floats, Floats], float]
) -> Callable[[Tensor], Tensor]:
    """A loss of the scores and ranks of one prompt as one of all prompts."""
    bundle, ranks = (book.column(inputs, name).numpy() for name in ("bundle", "labels"))

    def losses(scores: Floats) -> Floats:
        return np.array([loss(scores[bundle == b], ranks[bundle == b]) for b in range(bundle.max() + 1)])

    return lambda scores: _Numeric.apply(scores, losses)


def _choix_rankings(book: Notebook, inputs: str) -> Callable[[Tensor], Tensor]:
    """Plackett-Luce, the mean over all orders that the ranks allow."""

    def loss(scores: Floats, ranks: Floats) -> float:
        orders = [o for o in itertools.permutations(range(len(ranks))) if (np.diff(ranks[list(o)]) >= 0).all()]
        return -choix.log_likelihood_rankings(orders, scores) / len(orders)

    return _by_prompt(book, inputs, loss)


def _choix_pairs(book: Notebook, inputs: str, *, half: bool = False) -> Callable[[Tensor], Tensor]:
    """Bradley-Terry, the mean over a ranking's pairs."""

    def loss(scores: Floats, ranks: Floats) -> float:
        ordered = [(i, j) for i, j in itertools.permutations(range(len(ranks)), 2) if ranks[i] < ranks[j]]
        tied = [(i, j) for i, j in itertools.permutations(range(len(ranks)), 2) if ranks[i] == ranks[j]]
        won = 2 * ordered + tied if half else ordered
        return -choix.log_likelihood_pairwise(won, scores) / len(won)

    return _by_prompt(book, inputs, loss)


def _cox(book: Notebook, inputs: str, ties: str) -> Callable[[Tensor], Tensor]:
    """Proportional hazards with the ranks as times of death and the scores as the one covariate."""

    def loss(scores: Floats, ranks: Floats) -> float:
        return -float(PHReg(ranks + 1, scores[:, None], ties=ties).loglike(np.ones(1)))

    return _by_prompt(book, inputs, loss)


def rankings(book: Notebook) -> None:
    by, tied = "choix 0.4.1", "rankings with ties"
    plain = {"normaliser": "none"}
    book.record("starling-rm", {}, by, "rankings", _choix_rankings(book, "rankings"))
    note = "the mean over all orders that a ranking allows"
    book.record("plackett_luce", {**plain, "ties": "average"}, by, tied, _choix_rankings(book, tied), note)
    book.record("instructgpt-rm", {}, by, "rankings", _choix_pairs(book, "rankings"))
    book.record("all_pairs", {"ties": "drop"}, by, tied, _choix_pairs(book, tied))
    note = "a tied pair won once by either response, all others twice"
    book.record("all_pairs", {"ties": "half"}, by, tied, _choix_pairs(book, tied, half=True), note)
    for ties in ("efron", "breslow"):
        settings, note = {**plain, "ties": ties}, "Cox's partial likelihood, in which the best response dies first"
        book.record("plackett_luce", settings, "statsmodels 0.15.0", tied, _cox(book, tied, ties), note)
