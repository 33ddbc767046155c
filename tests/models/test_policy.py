"""Loading, adapters and saving of policies and reward models."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    CodeGenConfig,
    GPT2Config,
    GPTJConfig,
    GPTNeoConfig,
    PretrainedConfig,
)

from tests.tiny import FAMILIES, tiny_folder
from tightrope.data.batch import TokenBatch, TreeLayout
from tightrope.data.example import EncodedResponse, Example
from tightrope.errors import InputError, WorkError
from tightrope.models.attention import TreeAttention
from tightrope.models.heads import ScalarHead
from tightrope.models.loading import load_model
from tightrope.models.policy import LoraSettings, Policy
from tightrope.models.reading import Reading
from tightrope.models.reward import RewardModel
from tightrope.records import Response, user_prompt
from tightrope.rewards.spec import ScorerSpec, load_scorer

EXAMPLE = Example("x", (1, 9, 10), (EncodedResponse((20, 21, 2)), EncodedResponse((30, 2))), pairs=((0, 1),))


def test_saved_policy_loads_in_transformers_with_the_same_logits(tmp_path: Path) -> None:
    policy = Policy.load(tiny_folder(tmp_path / "a"))
    with torch.no_grad():
        next(policy.model.parameters()).add_(0.01)
    policy.save(tmp_path / "b")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "b")
    ids = torch.tensor([[1, 9, 10, 20, 21]])
    expected = plain(ids).logits.log_softmax(-1)[0, [2, 3], [20, 21]]
    ours = policy.token_logprobs(TokenBatch.from_examples([EXAMPLE])).logprobs[:2]
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)
    assert not list(tmp_path.glob(".*tmp*"))


def test_adapters_start_as_the_base_model_and_can_be_switched_off(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "a")
    base = Policy.load(folder).score_tokens([EXAMPLE])[0]
    policy = Policy.load(folder, lora=LoraSettings(rank=4))
    assert (policy.score_tokens([EXAMPLE])[0] == base).all()
    for name, parameter in policy.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    moved = policy.score_tokens([EXAMPLE])[0]
    assert abs(moved - base).max() > 1e-3
    with policy.adapters_disabled():
        assert (policy.score_tokens([EXAMPLE])[0] == base).all()
    policy.save(tmp_path / "merged")
    merged = Policy.load(str(tmp_path / "merged")).score_tokens([EXAMPLE])[0]
    assert abs(merged - moved).max() < 1e-4
    assert (tmp_path / "merged" / "adapter" / "adapter_config.json").is_file()


def test_reward_models_are_probed_like_policies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_folder(tmp_path / "a")
    shared = RewardModel.load(folder, reading=Reading())
    assert shared.shares_prompts and shared.fallback_line is None
    right = shared.score_examples([EXAMPLE])[0]

    class Off(TreeAttention):
        """Lets every branch see the other ones."""

        def __init__(self, batch: TokenBatch) -> None:
            super().__init__(dataclasses.replace(batch, layout=one_branch(batch)))

    monkeypatch.setattr("tightrope.models.trunk.TreeAttention", Off)
    fallen = RewardModel.load(folder, reading=Reading())
    assert not fallen.shares_prompts and "off by" in (fallen.fallback_line or "")
    assert abs(fallen.score_examples([EXAMPLE])[0] - right).max() < 1e-5


def one_branch(batch: TokenBatch) -> TreeLayout:
    return dataclasses.replace(batch.layout, branch_lengths=tuple((sum(n),) for n in batch.layout.branch_lengths))


def test_gradient_checkpointing_changes_no_gradient(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "a")
    grads = []
    for checkpointing in (False, True):
        policy = Policy.load(folder, gradient_checkpointing=checkpointing)
        policy.token_logprobs(TokenBatch.from_examples([EXAMPLE])).logprobs.sum().backward()
        grads.append([p.grad for p in policy.model.parameters()])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("family", FAMILIES)
def test_reward_model_scores_the_end_of_turn_like_transformers(tmp_path: Path, family: str) -> None:
    model = RewardModel.load(tiny_folder(tmp_path / "a", family), reading=Reading(), seed=3)
    scores = model.scores(TokenBatch.from_examples([EXAMPLE])).detach()
    model.save(tmp_path / "rm")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm")
    pad = plain.config.pad_token_id
    ids = torch.tensor([[1, 9, 10, 20, 21, 2, pad], [1, 9, 10, 30, 2, pad, pad]])
    theirs = plain(ids, attention_mask=(ids != pad).long()).logits[:, 0]
    torch.testing.assert_close(scores, theirs, atol=1e-4, rtol=0)
    again = RewardModel.load(str(tmp_path / "rm"), seed=99)
    torch.testing.assert_close(again.scores(TokenBatch.from_examples([EXAMPLE])), scores)


def test_score_of_a_text_does_not_depend_on_its_company(tmp_path: Path) -> None:
    model = RewardModel.load(tiny_folder(tmp_path / "a"), reading=Reading())
    answers = [(user_prompt("hi"), Response(t)) for t in ("a", "quite a bit longer than that", "")]
    together = model.score_texts(answers)
    alone = [float(model.score_texts([a])[0]) for a in answers]
    assert together == pytest.approx(alone, abs=1e-5)


def test_value_head_saves_and_reloads(tmp_path: Path) -> None:
    head = ScalarHead(8, seed=1)
    head.save(tmp_path / "head.safetensors")
    hidden = torch.randn(3, 8)
    torch.testing.assert_close(ScalarHead.load(tmp_path / "head.safetensors")(hidden), head(hidden))
    with pytest.raises(InputError, match="not a scalar head"):
        ScalarHead.load(tmp_path / "missing.safetensors")


def test_full_disk_leaves_the_earlier_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = Policy.load(tiny_folder(tmp_path / "a"))
    policy.save(tmp_path / "b")
    before = {p.name: p.read_bytes() for p in (tmp_path / "b").iterdir()}

    def full(*args: object, **kwargs: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(type(policy.model), "save_pretrained", full)
    with pytest.raises(WorkError, match=r"could not be written.*No space left.*nothing was overwritten"):
        policy.save(tmp_path / "b")
    assert {p.name: p.read_bytes() for p in (tmp_path / "b").iterdir()} == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_missing_shards_are_named(tmp_path: Path) -> None:
    folder = Path(tiny_folder(tmp_path / "a"))
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"x": "model-2-of-2.safetensors"}})
    )
    with pytest.raises(InputError, match=r"weight files are missing: model-2-of-2"):
        Policy.load(str(folder))


def test_nan_weights_are_refused_at_load_and_at_save(tmp_path: Path) -> None:
    folder = Path(tiny_folder(tmp_path / "a"))
    policy = Policy.load(str(folder))
    with torch.no_grad():
        next(policy.model.parameters())[0, 0] = float("nan")
    with pytest.raises(WorkError, match=r"holds NaN.*learning rate"):
        policy.save(tmp_path / "b")
    assert not (tmp_path / "b").exists()
    state = load_file(folder / "model.safetensors")
    name = next(n for n in state if "mlp" in n)
    state[name][0, 0] = float("inf")
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=name):
        Policy.load(str(folder))


@pytest.mark.parametrize("spec", ["./nowhere", "/no/such/folder"])
def test_missing_folder_is_one_clear_error(spec: str) -> None:
    with pytest.raises(InputError, match="no such model folder"):
        Policy.load(spec)


def test_damaged_weights_are_one_clear_error(tmp_path: Path) -> None:
    folder = Path(tiny_folder(tmp_path / "a"))
    (folder / "model.safetensors").write_bytes(b"half a download")
    with pytest.raises(InputError, match="cannot be loaded"):
        Policy.load(str(folder))


def rewritten(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> str:
    """The folder with other weights in its file."""
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return str(folder)


MLP = "model.layers.1.mlp.up_proj.weight"


@pytest.mark.parametrize("kind", [Policy, RewardModel])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state.pop(MLP), f"1 weight of the Llama.* is missing or of another shape: {MLP}"),
        (lambda state: state.update({MLP: torch.zeros(2, 2)}), f"is missing or of another shape: {MLP}"),
        (
            lambda state: state.update({f"model.layers.7.{x}": torch.zeros(1) for x in "xy"}),
            r"2 weights of the Llama.* have no place in the model: model\.layers\.7\.x, model\.layers\.7\.y",
        ),
        (lambda state: state.update({f"{MLP[:-6]}bias": torch.zeros(48)}), r"1 weight of .* has no place in the model"),
    ],
)
def test_files_of_another_model_are_refused_and_not_filled_up(
    tmp_path: Path, kind: type[Policy | RewardModel], change: Callable[[dict[str, torch.Tensor]], object], said: str
) -> None:
    # transformers draws what is missing at random, and says so in a table
    with pytest.raises(InputError, match=said):
        start(kind, rewritten(Path(tiny_folder(tmp_path)), change))


def start(kind: type[Policy | RewardModel], folder: str) -> Policy | RewardModel:
    return RewardModel.load(folder, reading=Reading()) if kind is RewardModel else Policy.load(folder)


@pytest.mark.parametrize(
    ("config", "leftovers"),
    [
        (GPT2Config(vocab_size=30, n_embd=8, n_layer=1, n_head=2), ("h.0.attn.bias", "h.0.attn.masked_bias")),
        (
            GPTJConfig(vocab_size=30, n_embd=8, n_layer=1, n_head=2, rotary_dim=2),
            ("transformer.h.0.attn.bias", "transformer.h.0.attn.masked_bias"),
        ),
        (
            GPTNeoConfig(vocab_size=30, hidden_size=8, num_layers=1, num_heads=2, attention_types=[[["global"], 1]]),
            ("transformer.h.0.attn.attention.bias", "transformer.h.0.attn.attention.masked_bias"),
        ),
        (
            CodeGenConfig(vocab_size=30, n_embd=8, n_layer=1, n_head=4, rotary_dim=2),
            ("transformer.h.0.attn.causal_mask",),
        ),
    ],
    ids=lambda x: getattr(x, "model_type", ""),
)
def test_masks_that_old_versions_saved_beside_the_weights_are_no_weights(
    tmp_path: Path, config: PretrainedConfig, leftovers: tuple[str, ...]
) -> None:
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)

    def old(state: dict[str, torch.Tensor]) -> None:
        if not leftovers[0].startswith("transformer."):  # GPT-2's own files name no prefix
            for name in list(state):
                state[name.removeprefix("transformer.")] = state.pop(name)
        state.update({name: torch.ones(1) for name in leftovers})

    folder = rewritten(tmp_path, old)
    load_model(AutoModelForCausalLM, folder, "float32", "cpu")
    rewritten(tmp_path, lambda state: state.update({leftovers[0].split("h.0")[0] + "h.1.mlp.x": torch.ones(1)}))
    with pytest.raises(InputError, match=r"1 weight of .* has no place in the model: .*h\.1\."):
        load_model(AutoModelForCausalLM, folder, "float32", "cpu")


@pytest.mark.parametrize("name", ["LlamaForCausalLM", "LlamaForTokenClassification", "LlamaForRewardModel"])
def test_nothing_but_a_classifier_judges_and_nothing_is_scored_by_a_fresh_head(tmp_path: Path, name: str) -> None:
    folder = tiny_folder(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"architectures": [name]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    for form in (folder, f"mean:{folder},{folder}"):
        with pytest.raises(InputError, match=rf"no reward model but a {name}.*at random.*method: reward"):
            load_scorer(ScorerSpec.parse(form))
    RewardModel.load(folder, reading=Reading())


def test_a_classifier_of_two_labels_is_sound_but_no_reward_model(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path)
    AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2).save_pretrained(folder)
    for reading in (None, Reading()):
        with pytest.raises(InputError, match="a head of 2 outputs; a reward model has 1"):
            RewardModel.load(folder, reading=reading)


def test_an_adapter_beside_a_model_is_to_be_merged_first(tmp_path: Path) -> None:
    folder = rewritten(Path(tiny_folder(tmp_path)), lambda state: state.pop(MLP))
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.add_adapter(LoraConfig(r=2, target_modules=["q_proj"]))
    model.save_pretrained(folder)
    with pytest.raises(InputError, match=r"an adapter .*Merge it first.*merge_and_unload"):
        Policy.load(folder)


def test_a_saved_reward_model_without_its_head_is_refused(tmp_path: Path) -> None:
    RewardModel.load(tiny_folder(tmp_path / "a"), reading=Reading()).save(tmp_path / "b")
    folder = rewritten(tmp_path / "b", lambda state: state.pop("score.weight"))
    with pytest.raises(InputError, match=r"missing or of another shape: score\.weight"):
        RewardModel.load(folder)


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2"])
def test_heads_of_other_tasks_come_and_go_without_a_report(
    tmp_path: Path, family: str, caplog: pytest.LogCaptureFixture
) -> None:
    import logging

    logging.getLogger("transformers").addHandler(caplog.handler)  # its loggers do not propagate
    try:
        RewardModel.load(tiny_folder(tmp_path / "a", family), reading=Reading()).save(tmp_path / "b")
        if family != "qwen2":  # its output weights are its own, and a reward model keeps none
            Policy.load(str(tmp_path / "b"))
    finally:
        logging.getLogger("transformers").removeHandler(caplog.handler)
    assert "REPORT" not in caplog.text


def test_full_disk_leaves_the_older_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    policy = Policy.load(tiny_folder(tmp_path / "a"))
    policy.save(tmp_path / "b")
    before = (tmp_path / "b" / "model.safetensors").read_bytes()
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(WorkError, match="not enough disk space"):
        policy.save(tmp_path / "b")
    assert (tmp_path / "b" / "model.safetensors").read_bytes() == before


def test_a_folder_loads_and_saves_without_transformers_bars(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = Policy.load(str(tiny_folder(tmp_path / "a")))
    policy.save(tmp_path / "b")
    Policy.load(str(tmp_path / "b"))
    assert "Loading weights" not in capsys.readouterr().err
