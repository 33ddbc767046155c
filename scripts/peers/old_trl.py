"""TRL 0.12.2: what it did otherwise than 1.16."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import torch
from peers.notebook import Notebook, summed
from torch import Tensor
from torch.nn.functional import pad


def trl_bco(book: Notebook) -> None:
    """TRL no longer has the running shift. Theirs is in float32 and counts every step alike."""
    by = "trl 0.12.2"
    moments = book.taken(by, "trl/trainer/utils.py", "RunningMoments")
    bco = book.taken(by, "trl/trainer/bco_trainer.py", "BCOTrainer.bco_loss")
    running = moments(SimpleNamespace(use_distributed=False))
    trainer = SimpleNamespace(
        beta=0.1, running=running, match_underlying_distribution=False, accelerator=SimpleNamespace(device="cpu")
    )
    steps = ("thumbs, step 1", "thumbs, step 2")
    to_come = iter(steps)

    def losses(logprobs: Tensor) -> Tensor:
        name = next(to_come)
        up = book.column(name, "labels") > 0
        policy, reference = book.responses(name, logprobs)
        found = bco(trainer, policy[up], policy[~up], reference[up], reference[~up], None, None)[0]
        return torch.empty_like(found).masked_scatter(up, found).masked_scatter(~up, found[up.sum() :])

    book.record("bco", {"beta": 0.1}, by, steps, losses)


def trl_wpo(book: Notebook) -> None:
    """TRL no longer caps the weight, as the authors do."""
    by, path = "trl 0.12.2", "trl/trainer/dpo_trainer.py"
    divergence = SimpleNamespace(ALPHA_DIVERGENCE=SimpleNamespace(value=1), JS_DIVERGENCE=SimpleNamespace(value=2))
    forward = book.taken(by, path, "DPOTrainer.concatenated_forward")
    preference = book.taken(by, path, "DPOTrainer.dpo_loss", FDivergenceType=divergence)
    loss = book.taken(by, path, "DPOTrainer.get_batch_loss_metrics")
    tokens, frozen = book.column("logits", "tokens"), book.column("logits", "reference_logits")
    reference = summed(frozen.log_softmax(1).gather(1, tokens[:, None])[:, 0], book.inputs["logits"]["response"])
    plain = {"beta": 0.1, "loss_type": "sigmoid", "label_smoothing": 0.0, "reference_free": False}
    switches = {"use_weighting": True, "aux_loss_enabled": False, "is_encoder_decoder": False, "padding_value": 0}

    def one(logits: Tensor, pair: Sequence[int]) -> Tensor:
        fake = SimpleNamespace(**plain, **switches, f_divergence_type=None, accelerator=SimpleNamespace(device="cpu"))
        fake.args = SimpleNamespace(max_length=None, rpo_alpha=None)
        fake.concatenated_forward = lambda model, batch: forward(fake, model, batch)
        fake.dpo_loss = lambda *sums: preference(fake, *sums)
        # A prompt of one token, once for the pair and once for each of its responses.
        prompt = {"prompt_input_ids": torch.zeros(1, 1).long(), "prompt_attention_mask": torch.ones(1, 1).long()}
        completions = {
            "completion_input_ids": book.padded("logits", tokens, pair),
            "completion_attention_mask": book.padded("logits", torch.ones_like(tokens), pair),
        }
        fake.concatenated_inputs = lambda batch, padding_value: {
            **{key: value.repeat(2, 1) for key, value in prompt.items()},
            **completions,
        }
        model = SimpleNamespace(logits=pad(book.padded("logits", logits, pair), (0, 0, 0, 1)))
        sums = {"ref_chosen_logps": reference[[pair[0]]], "ref_rejected_logps": reference[[pair[1]]]}
        return loss(fake, lambda **_: model, {**prompt, **sums})[0]

    pairs = book.inputs["logits"]["pairs"]
    book.record("wpo", {"beta": 0.1}, by, "logits", lambda x: torch.stack([one(x, pair) for pair in pairs]))
