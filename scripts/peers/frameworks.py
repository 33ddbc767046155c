"""Frameworks that have a method or two TRL has not: oat, oxRL, NeMo-Aligner, LLaMA-Factory, a fork of OpenRLHF."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from peers.notebook import Notebook, each
from torch import Tensor
from torch.nn.functional import pad


def oat(book: Notebook) -> None:
    by, path = "oat-llm 0.2.4", "oat/learners/loss.py"
    dpo = book.taken(by, path, "DPOLoss", DAPAlgo=book.taken(by, "oat/types.py", "DAPAlgo"))
    n = book.lengths().reshape(-1, 2)

    def losses(logprobs: Tensor, **settings: float) -> Tensor:
        def one(*pair: Tensor) -> Tensor:
            *logps, lengths = pair
            return dpo(**settings)(*map(torch.clone, logps), torch.ones(1), torch.arange(9) < lengths.T)[0]

        return each(one, *book.pairs(logprobs), n)  # clones: theirs adds in place

    for penalty in (5.0, 50.0):
        settings, theirs = {"beta": 0.3, "penalty": penalty}, {"beta": 0.3, "dpo_positive_lambda": penalty}
        book.record("dpop", settings, by, "pairs", lambda x, t=theirs: losses(x, **t))
    for alpha in (0.01, 0.1):
        settings, theirs = {"beta": 0.1, "alpha": alpha}, {"beta": 0.1, "len_reg_alpha": alpha}
        book.record("r_dpo", settings, by, "pairs", lambda x, t=theirs: losses(x, **t))
    book.record("irpo", {}, by, "pairs", lambda x: losses(x, beta=0.1, sft_weight=1.0))
    book.record("llama3-dpo", {}, by, "pairs", lambda x: losses(x, beta=0.1, sft_weight=0.2))


def oxrl(book: Notebook) -> None:
    by = "oxrl 1.7.2"

    def method(file: str, name: str, models: int = 2, **settings: Any) -> Any:
        return book.taken(by, f"oxrl/algs/{file}.py", name)(*[None] * models, None, **settings)

    for loss in ("exponential", "truncated_quadratic", "savage"):
        gpo = method("gpo", "GPO", beta=0.1, gpo_loss_type=loss).compute_loss
        book.record("gpo", {"loss": loss}, by, "pairs", lambda x, f=gpo: each(f, *book.pairs(x)))
    dpop = method("dpop", "DPOP", beta=0.1, dpop_lambda=5.0).compute_loss
    book.record("dpop", {"beta": 0.1, "penalty": 5.0}, by, "pairs", lambda x: each(dpop, *book.pairs(x)))
    n, rdpo = book.lengths(), method("rdpo", "RDPO", beta=0.1, alpha=-0.05).compute_loss
    book.record(
        *("r_dpo", {"beta": 0.1, "alpha": 0.05}, by, "pairs"),
        lambda x: each(rdpo, *book.pairs(x), n[0::2], n[1::2]),
        "alpha negated: theirs subtracts the difference of lengths, which pays for length",
    )
    mask, chosen = torch.arange(9) < n[0::2, None], book.column("pairs", "response") % 2 == 0

    def with_likelihood(logprobs: Tensor, alg: Any, scale: Tensor) -> Tensor:
        """Their NLL reads logits: here those of a choice between the token and anything else."""
        padded = torch.full(mask.shape, -1.0, dtype=torch.float64).masked_scatter(mask, logprobs[chosen])
        logits = torch.stack((padded, torch.log(-torch.expm1(padded))), dim=2)
        won, lost, *_ = book.pairs(logprobs)
        targets = torch.zeros(mask.shape, dtype=torch.long)
        return alg.compute_loss(won / scale[0::2], lost / scale[1::2], logits, targets, mask)[0]

    one = torch.ones_like(n)
    cpo = method("cpo", "CPO", 1, beta=0.1, cpo_alpha=1.0)
    book.record("cpo", {"beta": 0.1, "nll_weight": 1.0}, by, "pairs", lambda x: with_likelihood(x, cpo, one))
    hinge = method("cpo", "CPO", 1, beta=1 / 2.5, cpo_alpha=0.1 / 2.5, loss_type="hinge")
    book.record(
        *("slic", {"delta": 2.5, "nll_weight": 0.1, "nll_normaliser": "tokens"}, by, "pairs"),
        lambda x: 2.5 * with_likelihood(x, hinge, one),
        "their CPO with a hinge of slope 1 / delta, times delta",
    )
    both = method("cposimpo", "CPOSimPO", 1, beta=10.0, gamma=5.4, cposimpo_alpha=0.05)
    book.record("cpo-simpo", {}, by, "pairs", lambda x: with_likelihood(x, both, n))


def nemo_aligner(book: Notebook) -> None:
    by, path, model = "nemo-aligner 0.7.0", "gpt/megatron_gpt_dpo_model.py", "MegatronGPTDPOModel"
    alone = SimpleNamespace(get_context_parallel_world_size=lambda: 1)
    names = ("get_reduced_masked_logps", "split_output_tensor", "loss_func")
    reduced, split, rpo = (book.taken(by, path, f"{model}.{name}", parallel_state=alone) for name in names)
    fake = SimpleNamespace(preference_loss="rpo_bwd_kl", ref_policy_kl_penalty=0.1, gt_reward_scale=1.0)
    fake.get_reduced_masked_logps = lambda *a, **k: reduced(fake, *a, **k)
    fake.split_output_tensor = lambda x: split(fake, x)
    margins, labels = book.column("pairs", "margins"), torch.tensor([[0, -100]] * 2)
    entropy = torch.distributions.Bernoulli(logits=margins).entropy()

    def one(*pair: Tensor) -> Tensor:
        chosen, rejected, reference_chosen, reference_rejected, margin = pair
        policy, reference = ((chosen, rejected), (reference_chosen, reference_rejected))
        sums = [pad(torch.stack(both), (0, 1)) for both in (policy, reference)]
        return rpo(fake, *sums, labels, torch.cat((margin, 0 * margin)))[0]

    book.record(
        *("dno", {"eta": 0.1, "target": "margin"}, by, "pairs"),
        lambda x: each(one, *book.pairs(x), margins) + entropy,
        "their `rpo_bwd_kl`, a KL divergence in float32, plus the entropy of the targets",
    )


def llama_factory(book: Notebook) -> None:
    by = "llamafactory 0.9.5"
    orpo = book.taken(by, "train/dpo/trainer.py", "CustomDPOTrainer.odds_ratio_loss")
    n, trainer = book.lengths(), SimpleNamespace(beta=0.1)
    book.record(
        *("orpo", {"odds_weight": 0.1, "nll_normaliser": "sequence"}, by, "pairs"),
        lambda x: orpo(trainer, book.pairs(x)[0] / n[0::2], book.pairs(x)[1] / n[1::2]),
    )


def repo(book: Notebook) -> None:
    """The baseline of another paper: the authors' own code states no licence."""
    by = "saramal/RePO-A_Regret_Minimization_Framework_on_Preference_Learning_in_Large_Language_Models"
    sums = book.taken(by, "openrlhf/trainer/tdpo_trainer.py", "TDPOTrainer._tdpo_get_batch_logps")
    tdpo = book.taken(by, "openrlhf/models/loss.py", "TDPOLoss")
    tokens, reference = book.column("logits", "tokens"), book.column("logits", "reference_logits")
    there = torch.ones_like(tokens)

    def one(loss: Any, logits: Tensor, pair: list[int]) -> Tensor:
        """The pair behind a prompt of one token."""
        models = [pad(book.padded("logits", x, pair), (0, 0, 0, 1)) for x in (logits, reference)]
        labels, mask = (pad(book.padded("logits", x, pair), (1, 0), value=1) for x in (tokens, there))
        margins, divergences, _ = sums(None, *models, labels, mask, [1, 1])
        return loss(*margins, *divergences)[0]

    pairs = book.inputs["logits"]["pairs"]
    for form, alpha in (("tdpo1", 1.0), ("tdpo2", 0.5), ("tdpo2", 0.1)):
        loss = tdpo(0.1, alpha, form == "tdpo2")
        settings = {"form": form, **({"alpha": alpha} if form == "tdpo2" else {})}
        book.record("tdpo", settings, by, "logits", lambda x, f=loss: torch.stack([one(f, x, p) for p in pairs]))
