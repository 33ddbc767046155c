"""Prompts of reasoning-gym: read, checked and refused; with a stand-in for the package, and with the package itself."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

from tightrope.data import gym
from tightrope.data.readers import read
from tightrope.errors import InputError
from tightrope.records import Prompt, Response, from_json, to_json
from tightrope.rewards.verifiers import verify

real = pytest.mark.skipif(
    importlib.util.find_spec("reasoning_gym") is None, reason="reasoning-gym, the extra `gym`, is not installed"
)


@dataclass
class Options:
    size: int
    seed: int
    least: int = 1

    def validate(self) -> None:
        assert self.least >= 0, "least must not be negative"


class Doubling:
    """Double a number; or, from item 2 on, say it in letters, for half the marks where the case is wrong."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def __getitem__(self, index: int) -> dict[str, Any]:
        number = self.options.seed + index + self.options.least
        if index < 2:
            return {"question": f"Double {number}.", "answer": str(2 * number), "metadata": {}}
        return {"question": f"Write {number} times x.", "answer": "x" * number, "metadata": {"of": (number,)}}

    def score_answer(self, answer: str | None, entry: dict[str, Any]) -> float:
        assert isinstance(entry["metadata"]["of"], tuple)
        return 1.0 if answer == entry["answer"] else 0.5 if answer == entry["answer"].upper() else 0.0


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    package, factory = ModuleType("reasoning_gym"), ModuleType("reasoning_gym.factory")

    def create_dataset(name: str, **options: Any) -> Doubling:
        made = Options(**options)
        made.validate()
        return Doubling(made)

    vars(package)["create_dataset"] = create_dataset
    vars(factory)["DATASETS"] = {"doubling": (Doubling, Options)}
    monkeypatch.setitem(sys.modules, "reasoning_gym", package)
    monkeypatch.setitem(sys.modules, "reasoning_gym.factory", factory)
    gym._task.cache_clear()
    yield
    gym._task.cache_clear()


def prompts(source: str) -> list[Prompt]:
    found = read(source, kind=Prompt).records
    return [from_json(to_json(record)) for record in found if isinstance(record, Prompt)]  # type: ignore[misc]


def passed(prompt: Prompt, text: str) -> bool:
    outcome = verify(prompt, Response(text))
    assert outcome is not None
    return outcome.passed


@pytest.mark.usefixtures("stand_in")
def test_small_numbers_are_checked_by_ours_and_the_rest_by_the_package() -> None:
    first, _, third = prompts("gym:doubling?size=3&seed=4")
    assert first.reference == {"number": 10} and first.messages[0].content == "Double 5."
    assert first.tags == ("doubling", "verifiable")
    assert passed(first, "5 + 5 = 10") and not passed(first, "11")
    assert third.messages[0].content == f"Write 7 times x.\n\n{gym.ASK}"
    assert passed(third, "I count: <answer>x</answer>, no: <answer> xxxxxxx </answer>.")
    assert passed(third, "xxxxxxx")
    assert not passed(third, "It is xxxxxxx")
    assert not passed(third, "<answer>XXXXXXX</answer>")  # part of the marks is not the answer


@pytest.mark.usefixtures("stand_in")
def test_the_same_source_gives_the_same_prompts_and_another_seed_others() -> None:
    assert prompts("gym:doubling?size=5") == prompts("gym:doubling?seed=0&size=5")
    assert len(prompts("gym:doubling")) == 100
    ids = [p.id for s in ("gym:doubling?seed=1", "gym:doubling?seed=2") for p in prompts(s)]
    assert len(set(ids)) == 200


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(
    "source, said",
    [
        ("gym:doublin", "Did you mean gym:doubling"),
        ("gym:doubling?size=0", "`size` is 0"),
        ("gym:doubling?size=many", "`size` is 'many'"),
        ("gym:doubling?seed=-1", "`seed` is -1"),
        ("gym:doubling?size=2&size=3", "given twice"),
        ("gym:doubling?size", "not readable"),
        ("gym:doubling?colour=red", "colour"),
        ("gym:doubling?least=-1", "least must not be negative"),
    ],
)
def test_unknown_tasks_and_wrong_options_are_refused(source: str, said: str) -> None:
    with pytest.raises(InputError) as refused:
        read(source)
    assert said in str(refused.value)


@pytest.mark.usefixtures("stand_in")
def test_an_item_that_another_version_makes_differently_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = prompts("gym:doubling?size=3")[2]
    wording = Doubling.__getitem__
    monkeypatch.setattr(Doubling, "__getitem__", lambda self, i: wording(self, i) | {"question": "Anything else?"})
    with pytest.raises(InputError, match="not what was asked"):
        verify(prompt, Response("xxx"))


@pytest.mark.usefixtures("stand_in")
def test_a_task_that_does_not_repeat_its_items_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(range(100))
    item = Doubling.__getitem__
    monkeypatch.setattr(Doubling, "__getitem__", lambda self, i: item(self, i) | {"question": f"Take {next(times)}."})
    with pytest.raises(InputError, match="does not make an item twice alike"):
        prompts("gym:doubling?size=3")


@pytest.mark.usefixtures("stand_in")
def test_splits_and_references_that_name_no_item_are_refused() -> None:
    with pytest.raises(InputError, match="no split"):
        read("gym:doubling", split="test")
    prompt = prompts("gym:doubling?size=3")[2]
    with pytest.raises(InputError, match="reference 'gym' must be"):
        verify(Prompt(prompt.messages, reference={"gym": 3}), Response("xxx"))


def test_without_the_package_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    gym._task.cache_clear()
    with pytest.raises(InputError) as refused:
        read("gym:chain_sum")
    assert "not installed" in str(refused.value) and "tightrope[gym]" in str(refused.value)


@real
@pytest.mark.parametrize("task", ["chain_sum", "number_sorting", "word_sorting", "countdown", "syllogism"])
def test_the_packages_own_answers_pass_and_others_fail(task: str) -> None:
    made = prompts(f"gym:{task}?size=12&seed=3")
    dataset = gym._task(f"gym:{task}?size=12&seed=3")
    for prompt, entry in zip(made, (dataset[i] for i in range(12)), strict=True):
        assert prompt.messages[0].content.startswith(entry["question"])
        answer = entry["answer"]
        assert passed(prompt, answer if "number" in prompt.reference else f"So: <answer>{answer}</answer>")
        assert not passed(prompt, "<answer>I do not know</answer>")
