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
from trl import DPOTrainer, RewardTrainer, SFTTrainer

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


def outputs(logps: Tensor, mask: Tensor) -> SimpleNamespace:
    """A model output of TRL's fused head: log-probs as given, the rest zeros that only feed metrics."""
    zeros = torch.zeros_like(logps)
    return SimpleNamespace(
        log_probs=logps, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool(), label_mask=mask[:, 1:].bool()
    )


def dpo(
    case: dict[str, Any], losses: list[str], weights: list[float], beta: float, eps: float
) -> dict[str, Any]:
    """TRL's DPO loss with these loss types, and its gradient in every completion log-prob."""
    logps, mask = padded(case["policy_chosen"] + case["policy_rejected"])
    logps.requires_grad_()
    reference = [
        torch.tensor([sum(row) for row in case[f"reference_{side}"]], dtype=torch.float64)
        for side in ("chosen", "rejected")
    ]
    fake = trainer(
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        loss_types=losses,
        loss_weights=weights,
        beta=beta,
        label_smoothing=eps,
        use_weighting=False,
    )
    inputs = {
        "input_ids": torch.zeros_like(mask),
        "attention_mask": torch.ones_like(mask),
        "completion_mask": mask,
        "ref_chosen_logps": reference[0],
        "ref_rejected_logps": reference[1],
    }
    loss = DPOTrainer._compute_loss(fake, lambda **_: outputs(logps, mask), inputs, False)
    loss.backward()
    assert logps.grad is not None
    gradient = [row[keep.bool()].tolist() for row, keep in zip(logps.grad, mask[:, 1:], strict=True)]
    metrics = {name: values[0] for name, values in fake._metrics["train"].items()}
    return {"loss": loss.item(), "gradient": gradient, "metrics": metrics}


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
