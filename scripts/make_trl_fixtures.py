"""Runs TRL's own loss code on random numbers and writes down what came out.

TRL lives in an environment of its own and is never imported by the package;
`tests/objectives/test_trl_parity.py` compares our losses with the file this script writes. The trainers'
loss methods are called unbound, with a model that returns given log-probs (or scores), so what runs is
TRL's arithmetic and nothing else.

    python3.11 -m venv .venv-trl
    .venv-trl/bin/pip install torch==2.13.0 transformers==5.23.0 'trl==1.16.*'
    .venv-trl/bin/python scripts/make_trl_fixtures.py
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import transformers
import trl
from torch import Tensor
from trl import DPOTrainer, KTOTrainer, RewardTrainer, SFTTrainer
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer

SEED = 20260
OUT = Path(__file__).parent.parent / "tests" / "objectives" / "trl_fixtures.json"
PROMPT = 3  # prompt tokens of every row


def trainer(**fields: Any) -> SimpleNamespace:
    """What TRL's loss methods read from `self`."""
    accelerator = SimpleNamespace(
        device=torch.device("cpu"), gather=lambda x: x, gather_for_metrics=lambda x: x, num_processes=1
    )
    return SimpleNamespace(
        model=SimpleNamespace(training=True),
        accelerator=accelerator,
        aux_loss_enabled=False,
        _metrics={"train": defaultdict(list), "eval": defaultdict(list)},
        _tp_size=1,
        _total_train_tokens=0,
        get_tp_size=lambda: 1,
        **fields,
    )


def padded(rows: list[list[float]]) -> tuple[Tensor, Tensor]:
    """Completion log-probs as TRL sees them, [rows, T - 1] after the shift, and their mask [rows, T]."""
    width = PROMPT + max(len(row) for row in rows)
    logps, mask = torch.zeros(len(rows), width - 1, dtype=torch.float64), torch.zeros(len(rows), width).long()
    for i, row in enumerate(rows):
        logps[i, PROMPT - 1 : PROMPT - 1 + len(row)] = torch.tensor(row, dtype=torch.float64)
        mask[i, PROMPT : PROMPT + len(row)] = 1
    return logps, mask


def outputs(logps: Tensor, mask: Tensor, collision: Tensor | None = None) -> SimpleNamespace:
    """A model output of TRL's fused head: log-probs as given, the rest zeros that only feed metrics."""
    zeros = torch.zeros_like(logps)
    return SimpleNamespace(
        log_probs=logps,
        entropy=zeros,
        mean_logits=zeros,
        is_top1=zeros.bool(),
        label_mask=mask[:, 1:].bool(),
        log_sum_sq_probs=zeros if collision is None else collision,
    )


def dpo(
    case: dict[str, Any],
    losses: list[str],
    weights: list[float],
    beta: float,
    eps: float,
    *,
    ld_alpha: float | None = None,
    divergence: str = "reverse_kl",
    collision: list[list[float]] | None = None,
    dtype: torch.dtype = torch.float64,
) -> dict[str, Any]:
    """TRL's DPO loss with these loss types, and its gradient in every completion log-prob."""
    logps, mask = padded(case["policy_chosen"] + case["policy_rejected"])
    reference, _ = padded(case["reference_chosen"] + case["reference_rejected"])
    logps, reference = logps.to(dtype).requires_grad_(), reference.to(dtype)
    fake = trainer(
        ld_alpha=ld_alpha,
        precompute_ref_logps=False,
        ref_model=lambda **_: outputs(reference, mask),
        f_divergence_type=divergence,
        f_alpha_divergence_coef=0.5,
        loss_types=losses,
        loss_weights=weights,
        beta=beta,
        label_smoothing=eps,
        use_weighting=collision is not None,
        args=SimpleNamespace(gradient_checkpointing_kwargs=None, discopop_tau=0.05),
    )
    fake.model.is_gradient_checkpointing = False
    inputs = {
        "input_ids": torch.zeros_like(mask),
        "attention_mask": torch.ones_like(mask),
        "completion_mask": mask,
    }
    squares = None if collision is None else padded(collision)[0]
    loss = DPOTrainer._compute_loss(fake, lambda **_: outputs(logps, mask, squares), inputs, False)
    loss.backward()
    assert logps.grad is not None
    gradient = [row[keep.bool()].tolist() for row, keep in zip(logps.grad, mask[:, 1:], strict=True)]
    metrics = {name: values[0] for name, values in fake._metrics["train"].items()}
    return {"loss": loss.item(), "gradient": gradient, "metrics": metrics}


def kto(case: dict[str, Any], beta: float, up: float, down: float, loss_type: str) -> dict[str, Any]:
    """TRL's KTO loss and its gradient; chosen rows are thumbs up, `mismatched` rows give the reference point."""
    logps, mask = padded(case["policy_chosen"] + case["policy_rejected"])
    reference, _ = padded(case["reference_chosen"] + case["reference_rejected"])
    mismatched, kl_mask = padded(case["policy_mismatched"])
    kl_reference, _ = padded(case["reference_mismatched"])
    logps.requires_grad_()
    calculate = loss_type == "kto"
    calls = iter([outputs(mismatched, kl_mask)] * calculate + [outputs(logps, mask)])
    fake = trainer(
        beta=beta,
        desirable_weight=up,
        undesirable_weight=down,
        loss_type=loss_type,
        calculate_KL=calculate,
        precompute_ref_logps=True,
    )
    fake._compute_kl_logps = lambda model, batch: KTOTrainer._compute_kl_logps(fake, model, batch)
    chosen = len(case["policy_chosen"])
    inputs = {
        "input_ids": torch.zeros_like(mask),
        "attention_mask": torch.ones_like(mask),
        "completion_mask": mask,
        "KL_input_ids": torch.zeros_like(kl_mask),
        "KL_attention_mask": torch.ones_like(kl_mask),
        "KL_completion_mask": kl_mask,
        "label": torch.tensor([True] * chosen + [False] * (len(logps) - chosen)),
        "ref_logps": reference.sum(1),
        "ref_KL_logps": kl_reference.sum(1),
    }
    loss = KTOTrainer._compute_loss(fake, lambda **_: next(calls), inputs, False)
    loss.backward()
    assert logps.grad is not None
    gradient = [row[keep.bool()].tolist() for row, keep in zip(logps.grad, mask[:, 1:], strict=True)]
    return {"loss": loss.item(), "gradient": gradient, "kl": fake._metrics["train"]["kl"][0]}


def reference_free(case: dict[str, Any]) -> dict[str, Any]:
    """TRL's preference terms of CPO, SimPO and ORPO, per pair."""
    rows = [[torch.tensor(r, dtype=torch.float64) for r in case[f"policy_{side}"]] for side in ("chosen", "rejected")]
    sums = [torch.stack([r.sum() for r in side]) for side in rows]
    means = [torch.stack([r.mean() for r in side]) for side in rows]

    def cpo(values: list[Tensor], **fields: Any) -> list[float]:
        fake = trainer(alpha=0.0, label_smoothing=0.0, **fields)
        losses, *_ = CPOTrainer.cpo_loss(fake, *values)
        return list(losses.tolist())

    return {
        "cpo": {"beta": 0.1, "losses": cpo(sums, beta=0.1, loss_type="sigmoid")},
        "simpo": {"beta": 2.0, "gamma": 1.0, "losses": cpo(means, beta=2.0, simpo_gamma=1.0, loss_type="simpo")},
        "orpo": {"losses": (-ORPOTrainer.odds_ratio_loss(trainer(beta=1.0), *means)[0]).tolist()},
    }


def reward(
    chosen: list[float], rejected: list[float], margin: list[float] | None, centring: float | None
) -> float:
    """TRL's reward-model loss."""
    logits = torch.tensor([*chosen, *rejected], dtype=torch.float64)[:, None]
    inputs: dict[str, Any] = {"attention_mask": torch.ones(len(logits), 4)}
    if margin is not None:
        inputs["margin"] = torch.tensor(margin, dtype=torch.float64)
    fake = trainer(args=SimpleNamespace(center_rewards_coefficient=centring))
    return float(RewardTrainer.compute_loss(fake, lambda **_: SimpleNamespace(logits=logits), inputs))


def sft(rows: list[list[float]], tokens_in_step: int | None) -> float:
    """TRL's SFT loss of one micro-batch."""
    logps, mask = padded(rows)
    fake = trainer(
        compute_loss_func=None,
        label_smoother=None,
        args=SimpleNamespace(loss_type="nll", average_tokens_across_devices=True),
    )
    fake.accelerator.parallelism_config = None
    inputs = {"attention_mask": torch.ones_like(mask), "labels": mask}
    count = None if tokens_in_step is None else torch.tensor(tokens_in_step)
    return float(
        SFTTrainer.compute_loss(fake, lambda **_: outputs(logps, mask), inputs, num_items_in_batch=count)
    )


def main() -> None:
    """Writes the fixtures."""
    draw = torch.Generator().manual_seed(SEED)

    def rows(lengths: list[int]) -> list[list[float]]:
        return [(-3 * torch.rand(n, generator=draw, dtype=torch.float64)).tolist() for n in lengths]

    chosen, rejected = [5, 2, 9, 1, 4], [3, 7, 2, 1, 6]
    case = {
        "policy_chosen": rows(chosen),
        "policy_rejected": rows(rejected),
        "reference_chosen": rows(chosen),
        "reference_rejected": rows(rejected),
    }
    dpo_results = []
    for beta in (0.05, 0.1, 0.5):
        dpo_results.append({"beta": beta, **dpo(case, ["sigmoid"], [1.0], beta, 0.0)})
        for weight in (0.005, 1.0):
            result = dpo(case, ["sigmoid", "sft"], [1.0, weight], beta, 0.0)
            dpo_results.append({"beta": beta, "nll_weight": weight, "nll_normaliser": "tokens", **result})
    # TRL's sigmoid loss ignores label_smoothing. For one pair its `aot` loss is the smoothed loss (nothing to
    # sort), so smoothing is compared pair by pair.
    smoothed = []
    for i in range(len(chosen)):
        one = {name: [side[i]] for name, side in case.items()}
        smoothed.append(dpo(one, ["aot"], [1.0], 0.1, 0.1)["loss"])
    family = {
        name: dpo(case, [name], [1.0], 0.1, 0.1)
        for name in (
            "hinge",
            "ipo",
            "exo_pair",
            "nca_pair",
            "robust",
            "bco_pair",
            "sppo_hard",
            "aot_unpaired",
            "apo_zero",
            "apo_down",
            "discopop",
            "sigmoid_norm",
        )
    }
    family["aot"] = dpo(case, ["aot"], [1.0], 0.1, 0.0)
    family["aot_unpaired"] = dpo(case, ["aot_unpaired"], [1.0], 0.1, 0.0)
    family["ld"] = dpo(case, ["sigmoid"], [1.0], 0.1, 0.0, ld_alpha=0.3)
    family["forward_kl"] = dpo(case, ["sigmoid"], [1.0], 0.1, 0.0, divergence="forward_kl")
    family["js"] = dpo(case, ["sigmoid"], [1.0], 0.1, 0.0, divergence="js_divergence")
    # In float64 TRL's alpha divergence looks its clamp up in a table without that type.
    family["alpha"] = dpo(case, ["sigmoid"], [1.0], 0.1, 0.0, divergence="alpha_divergence", dtype=torch.float32)
    collision = rows(chosen + rejected)
    family["wpo"] = {"collision": collision, **dpo(case, ["sigmoid"], [1.0], 0.1, 0.0, collision=collision)}
    case |= {"policy_mismatched": rows([2, 5, 3]), "reference_mismatched": rows([2, 5, 3])}
    ratings = [
        {"beta": b, "up": up, "down": down, "type": kind, **kto(case, b, up, down, kind)}
        for b, up, down, kind in (
            (0.1, 1.0, 1.0, "kto"),
            (0.5, 1.0, 1.5, "kto"),
            (0.1, 1.33, 1.0, "apo_zero_unpaired"),
        )
    ]
    scores = [(4 * torch.randn(8, generator=draw, dtype=torch.float64)).tolist() for _ in range(2)]
    margin = torch.rand(8, generator=draw, dtype=torch.float64).tolist()
    micro = [rows([4, 2]), rows([1, 7, 3])]
    tokens = sum(len(row) for batch in micro for row in batch)
    fixtures = {
        "made_by": "scripts/make_trl_fixtures.py",
        "versions": {
            "trl": trl.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "seed": SEED,
        "dpo": {
            **case,
            "results": dpo_results,
            "smoothed": {"beta": 0.1, "label_smoothing": 0.1, "losses": smoothed},
            "family": family,
            "ratings": ratings,
            "reference_free": reference_free(case),
        },
        "reward": {
            "chosen": scores[0],
            "rejected": scores[1],
            "margin": margin,
            "results": [
                {"use_margin": m, "centring": c or 0.0, "loss": reward(*scores, margin if m else None, c)}
                for m in (False, True)
                for c in (None, 0.01, 0.5)
            ],
        },
        "sft": {
            "micro_batches": micro,
            "alone": [sft(batch, None) for batch in micro],
            "accumulated": sum(sft(batch, tokens) for batch in micro),
        },
    }
    OUT.write_text(json.dumps(fixtures, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {OUT.name} with TRL {trl.__version__}")


if __name__ == "__main__":
    main()
