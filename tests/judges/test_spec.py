"""From specs to judges, a model in this process as judge, and how verdicts are read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from tests.judges.server import contest
from tests.tiny import tiny_folder, tiny_model, tiny_tokenizer
from tightrope.errors import InputError
from tightrope.judges.llm import LlmJudge
from tightrope.judges.local import LocalModel
from tightrope.judges.order import both_orders
from tightrope.judges.prompts import WORDINGS
from tightrope.judges.spec import ENDPOINT_OPTIONS, FORMS, load_judge
from tightrope.judges.weighing import weigh_choices
from tightrope.models.policy import Policy
from tightrope.records import Prompt, Response, user_prompt
from tightrope.rewards.spec import FORMS as SCORER_FORMS


def test_specs_name_judges_or_say_what_there_is() -> None:
    assert load_judge("rule:useful").identity.startswith("rule:useful@")
    assert load_judge("rule:first").identity.startswith("rule:first@")
    judge = load_judge("openai:http://127.0.0.1:9/v1#m")
    assert re.fullmatch(r"llm:m/pairwise@[0-9a-f]{8}", judge.identity)
    other = load_judge("openai:http://127.0.0.1:9/v1#org/m?prompt=letter&repeats=3&price=1/2.5&per_minute=60&concurrency=9")
    assert re.fullmatch(r"llm:m/letter@[0-9a-f]{8}", other.identity)
    warm = load_judge("openai:http://127.0.0.1:9/v1#m?temperature=0.7")
    assert warm.identity != judge.identity
    for spec, message in {
        "rule:usefull": "Did you mean rule:useful",
        "rule:firts": "Did you mean rule:first",
        "ruel:useful": "Did you mean rule:",
        "rule:": "There are: useful, longer",
        "openai:localhost": "not an endpoint",
        "openai:http://127.0.0.1:9/v1": "not an endpoint",
        "magic": "no judge is called",
        "llm:": "Use one of: rule:NAME",
        "openai:http://127.0.0.1:9/v1#m?promt=grade": "unknown option 'promt' Did you mean prompt",
        "openai:http://127.0.0.1:9/v1#m?prompt=refusal": "gives classes, not grades",
        "openai:http://127.0.0.1:9/v1#m?prompt=pairwize": "Did you mean pairwise",
        "openai:http://127.0.0.1:9/v1#m?repeats=0": "repeats is '0'",
        "openai:http://127.0.0.1:9/v1#m?repeats=1.5": "repeats is '1.5'",
        "openai:http://127.0.0.1:9/v1#m?price=3": "price is '3'",
        "openai:http://127.0.0.1:9/v1#m?temperature=hot": "temperature is 'hot'",
        "openai:http://127.0.0.1:9/v1#m?": "options are missing",
    }.items():
        with pytest.raises(InputError, match=message):
            load_judge(spec)


def test_model_in_process_is_asked_both_ways_and_each_question_once() -> None:
    asked: list[str] = []

    def generate(prompts: Sequence[Prompt], max_tokens: int) -> list[Response]:
        texts = [p.messages[0].content for p in prompts]
        asked.extend(texts)
        return [Response("[[A>B]]" if "[Answer A]\ngood" in t else "[[B>A]]" if "good" in t else "well") for t in texts]

    judge = LlmJudge(LocalModel(generate, "models/mine/", "f" * 16))
    better, same, unread = both_orders(judge, [contest("good", "bad"), contest("good", "bad"), contest("x", "y")])
    assert (better.preference, better.consistent, same) == (0.75, True, better)
    assert unread.preference is None and judge.unparsed == 2 and len(asked) == 4
    assert re.fullmatch(r"llm:mine/pairwise@[0-9a-f]{8}", judge.identity)
    assert judge.identity != LlmJudge(LocalModel(generate, "models/mine/", "e" * 16)).identity


def test_folder_becomes_a_judge_whose_babble_is_unparsed(tmp_path: Path) -> None:
    model = tiny_model()
    model.config.max_position_embeddings = 2048
    model.save_pretrained(tmp_path / "roomy")
    tiny_tokenizer().save_pretrained(tmp_path / "roomy")
    judge = load_judge(f"llm:{tmp_path / 'roomy'}")
    assert isinstance(judge, LlmJudge)
    (verdict,) = both_orders(judge, [contest("a", "b")])
    assert verdict.preference is None and judge.unparsed == 2
    assert re.fullmatch(r"llm:roomy/pairwise@[0-9a-f]{8}", judge.identity)


def test_folder_judges_by_the_probabilities_of_its_letters(tmp_path: Path) -> None:
    model = tiny_model()
    model.config.max_position_embeddings = 2048
    model.save_pretrained(tmp_path / "roomy")
    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(tmp_path / "roomy")
    policy = Policy.load(str(tmp_path / "roomy"))
    (weights,) = weigh_choices(policy, [user_prompt("q")], ("A", "B"))
    ids = torch.tensor([policy.chat.prompt_ids(user_prompt("q").messages)])
    logprobs = policy.model(ids).logits[0, -1].detach().log_softmax(-1)
    for letter in "AB":
        (token,) = tokenizer.encode(letter, add_special_tokens=False)
        assert weights[letter] == pytest.approx(float(logprobs[token]), abs=1e-4)
    with pytest.raises(InputError, match="tokens for this model, not one"):
        weigh_choices(policy, [user_prompt("q")], ("Abracadabra!",))


def test_question_that_does_not_fit_the_judge_is_an_error(tmp_path: Path) -> None:
    judge = load_judge(f"llm:{tiny_folder(tmp_path / 'cramped')}")
    with pytest.raises(InputError):
        judge.judge([contest("a", "b")])


def test_page_about_judges_names_every_wording_spec_and_option() -> None:
    page = (Path(__file__).parents[2] / "docs" / "judges.md").read_text(encoding="utf-8")
    for name in WORDINGS:
        assert f"| `{name}` |" in page
    for kind in FORMS:
        assert f"`{kind}:" in page
    for option in ENDPOINT_OPTIONS:
        assert f"| `{option}` |" in page
    for name, form in SCORER_FORMS.items():
        assert f"| `{name}:" in page and (not form.option or f"`?{form.option}={form.default:g}`" in page)
