"""The other side of `bench/training.py`: the same pairs with TRL, in TRL's own environment.

`best` is the fastest setting found on CPU: bfloat16 autocast, reference log-probs precomputed,
checkpointing off (`training.py` adds an allocator that keeps what is freed). `as_it_comes` leaves every setting that
changes speed at its default; `float32` and `as_it_comes_float32` are the two for a processor that is slow at bfloat16.
Learning rate, schedule, order and batch are given by the benchmark in all, so that the losses can be compared. Prints a
JSON object as its last line.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers
import trl
from _shapes import random_model
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoTokenizer, TrainerCallback

SPEED_SETTINGS: dict[str, dict[str, Any]] = {
    "best": {
        "bf16": True,
        "precompute_ref_log_probs": True,
        "gradient_checkpointing": False,
        "model_init_kwargs": {"dtype": "float32"},
    },
    "as_it_comes": {},
    "as_it_comes_float32": {"bf16": False, "model_init_kwargs": {"dtype": "float32"}},
    "gpu": {
        "bf16": True,
        "precompute_ref_log_probs": True,
        "gradient_checkpointing": False,
        "model_init_kwargs": {"dtype": "bfloat16"},
    },
    "float32": {
        "bf16": False,
        "precompute_ref_log_probs": True,
        "gradient_checkpointing": False,
        "model_init_kwargs": {"dtype": "float32"},
    },
}


class StepClock(TrainerCallback):
    """Seconds of every optimiser step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._started = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._started = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seconds.append(round(time.perf_counter() - self._started, 4))


def load(job: dict[str, Any], folder: Path) -> Any:
    """What TRL takes as `model`: a folder, from which it loads its reference too, or a model to put adapters on."""
    if "shape" not in job:
        return job["model"]
    model = random_model(job["shape"], job["device"], bits=job.get("bits"))
    if job.get("lora"):
        return model
    model.save_pretrained(folder / "start")
    return str(folder / "start")


def rows(method: str, pairs: list[dict[str, str]], rendered: Callable[[str], str]) -> list[dict[str, Any]]:
    """The pairs as TRL's trainer of the method takes them."""
    pairs = [{**pair, "prompt": rendered(pair["prompt"])} for pair in pairs]
    if method == "kto":
        return [
            {"prompt": p["prompt"], "completion": p[key], "label": key == "chosen"}
            for p in pairs
            for key in ("chosen", "rejected")
        ]
    if method == "sft":
        return [{"prompt": p["prompt"], "completion": p["chosen"]} for p in pairs]
    return pairs


TRAINERS = {
    "dpo": (trl.DPOTrainer, trl.DPOConfig),
    "kto": (trl.KTOTrainer, trl.KTOConfig),
    "reward": (trl.RewardTrainer, trl.RewardConfig),
    "sft": (trl.SFTTrainer, trl.SFTConfig),
}


def main(job: dict[str, Any]) -> dict[str, Any]:
    """Trains once and returns what was measured."""
    started = time.perf_counter()
    method, batch = job["method"], job["batch"] * (2 if job["method"] == "kto" else 1)
    tokenizer = AutoTokenizer.from_pretrained(job["model"])

    def rendered(prompt: str) -> str:
        message = [{"role": "user", "content": prompt}]
        return str(tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True))

    # Rendered text rather than messages: TRL then ends a completion at the end-of-turn token, as we do, and
    # both sides train the same tokens.
    data = Dataset.from_list(rows(method, job["pairs"], rendered))
    clock = StepClock()
    settings = dict(SPEED_SETTINGS[job["setting"]])
    if job.get("lora"):
        settings.pop("model_init_kwargs", None)  # TRL refuses it beside a model that is loaded already
    if method in ("dpo", "kto"):
        settings["beta"] = job["beta"]
    else:
        settings.pop("precompute_ref_log_probs", None)
    trainer_class, config_class = TRAINERS[method]
    with tempfile.TemporaryDirectory() as folder:
        arguments = config_class(
            output_dir=folder,
            per_device_train_batch_size=batch,
            num_train_epochs=1,
            learning_rate=job["learning_rate"],
            lr_scheduler_type="constant",
            train_sampling_strategy="sequential",
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            use_cpu=job.get("device", "cpu") == "cpu",
            disable_tqdm=True,
            max_length=4096,
            **settings,
        )
        trainer = trainer_class(
            model=load(job, Path(folder)),
            args=arguments,
            peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
            if job.get("lora")
            else None,
            train_dataset=data,
            processing_class=tokenizer,
            callbacks=[clock],
        )
        prepared = time.perf_counter()
        trainer.train()
    tokens = [length(row) for row in trainer.train_dataset]
    return {
        "seconds_per_step": clock.seconds,
        "tokens_per_step": [sum(tokens[i : i + batch]) for i in range(0, len(tokens), batch)],
        "losses": [round(row["loss"], 6) for row in trainer.state.log_history if "loss" in row],
        "reference_seconds": round(prepared - started, 2),  # loading and tokenising included
        "total_seconds": round(time.perf_counter() - started, 2),
        "peak_memory_bytes": torch.cuda.max_memory_allocated()
        if torch.cuda.is_available()
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "weights": str(next(trainer.model.parameters()).dtype).removeprefix("torch."),
        "settings": {
            "bf16_autocast": arguments.bf16,
            "gradient_checkpointing": arguments.gradient_checkpointing,
            "reference": "precomputed" if getattr(arguments, "precompute_ref_log_probs", False) else "online",
        },
        "versions": {
            "trl": trl.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }


def length(row: dict[str, Any]) -> int:
    """Tokens of a row of TRL's tokenised data, prompt twice for a pair."""
    if "prompt_ids" in row and "chosen_ids" in row:
        return 2 * len(row["prompt_ids"]) + len(row["chosen_ids"]) + len(row["rejected_ids"])
    if "prompt_ids" in row:
        return len(row["prompt_ids"]) + len(row["completion_ids"])
    if "chosen_ids" in row:  # reward: whole conversations
        return len(row["chosen_ids"]) + len(row["rejected_ids"])
    return len(row["input_ids"])


if __name__ == "__main__":
    print(json.dumps(main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))))
