"""Two models and a file of responses, to the credit of every token (`evaluation/credit.py`)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import logsigmoid

from tightrope.data.batch import TokenBatch
from tightrope.data.example import EncodedResponse, Example
from tightrope.data.makers import MAKERS, responses
from tightrope.data.pairing import Choices
from tightrope.errors import InputError
from tightrope.evaluation.credit import Credited, Role
from tightrope.models.lanes import side_by_side
from tightrope.models.policy import Policy
from tightrope.records import Comparison, Demonstration, Prompt, Record, Response, prompt_id

LOSS_DROP = 0.01  # nats by which a step is to lower the loss, to first order: small enough to be the first order


def pairs_or_answers(
    records: Sequence[Record], lost: Counter[str] | None = None
) -> list[tuple[Prompt, list[tuple[Role, Response]]]]:
    """Every record as a prompt with its responses: pairs of what is ordered, answers of everything else.

    Args:
        records: of any kind.
        lost: counts what is left out, by reason: an empty response has no token to credit, and no pair either.

    Raises:
        InputError: no record holds a response.
    """
    lost = Counter() if lost is None else lost
    groups: list[tuple[Prompt, list[tuple[Role, Response]]]] = []
    for record in records:
        made = [record] if isinstance(record, Comparison) else MAKERS["comparison"](record, Choices(), lost)
        pairs = [pair for pair in made if isinstance(pair, Comparison)]
        if pairs:
            groups += [(p.prompt, [("chosen", p.chosen), ("rejected", p.rejected)]) for p in pairs]
        elif isinstance(record, Prompt | Demonstration):
            lost[f"{type(record).__name__.lower()}, which is nobody's answer"] += 1
        else:
            groups += [(record.prompt, [("answer", answer)]) for answer in responses(record)]
    out = [(prompt, some) for prompt, some in groups if all(answer.text.strip() for _, answer in some)]
    lost["pair or answer with an empty response"] += len(groups) - len(out)
    if not out:
        raise InputError("the file holds no response", remedy="Give comparisons, rankings, ratings or samples.")
    return out


def credited(
    policy: Policy,
    reference: Policy,
    groups: Sequence[tuple[Prompt, Sequence[tuple[Role, Response]]]],
    *,
    beta: float | None = 0.1,
) -> list[Credited]:
    """Scores every response with both models, and takes a DPO step where there are pairs.

    Args:
        policy: what was trained; the step changes it.
        reference: what it is compared with, of the same tokenizer.
        groups: of `pairs_or_answers`.
        beta: of the step; None takes none.

    Raises:
        InputError: the two models render conversations differently, so that their tokens are not the same.
    """
    if policy.chat.fingerprint != reference.chat.fingerprint:
        raise InputError(
            "the two models render conversations differently: their tokens cannot be compared",
            where=f"{policy.name} against {reference.name}",
            remedy="Compare models of one family, with one tokenizer and template.",
        )
    examples: list[Example] = []
    which: list[list[tuple[int, ...]]] = []
    for prompt, some in groups:
        encoded = [policy.chat.encode(prompt, answer) for _, answer in some]
        pair = ((0, 1),) if [role for role, _ in some] == ["chosen", "rejected"] else ()
        branches = tuple(EncodedResponse(tuple(ids)) for _, ids in encoded)
        examples.append(Example(str(len(examples)), tuple(encoded[0][0]), branches, pair))
        which.append([tuple(ids) for _, ids in encoded])
    before, base = policy.score_tokens(examples), reference.score_tokens(examples)
    stepped: list[NDArray[np.float32]] | None = None
    if beta is not None and all(example.pairs for example in examples):
        take_step(policy, examples, base, beta=beta)
        stepped = [a - b for a, b in zip(policy.score_tokens(examples), before, strict=True)]
    places = {key: i for i, key in enumerate(dict.fromkeys(prompt_id(prompt) for prompt, _ in groups))}
    out = []
    for i, (prompt, some) in enumerate(groups):
        start = 0
        for (role, answer), ids in zip(some, which[i], strict=True):
            part = slice(start, start + len(ids))
            start += len(ids)
            out.append(
                Credited(
                    places[prompt_id(prompt)],
                    prompt.messages[-1].content,
                    role,
                    answer.author,
                    tuple(str(policy.tokenizer.decode([token])) for token in ids),
                    np.asarray(before[i][part] - base[i][part], np.float64),
                    None if stepped is None else np.asarray(stepped[i][part], np.float64),
                )
            )
    return out


def take_step(policy: Policy, examples: Sequence[Example], base: Sequence[NDArray[Any]], *, beta: float) -> float:
    """One step of plain gradient descent on the DPO loss of all pairs, so long that it lowers the loss by 0.01 nats.

    To first order a step of length eta along the gradient g lowers the loss by eta |g|^2, which sets eta.

    Args:
        policy: changed in place.
        examples: bundles of (chosen, rejected).
        base: the reference's log-probabilities of their tokens.
        beta: of the loss.

    Returns:
        The loss before the step, nats a pair.
    """
    parameters = [p for p in policy.model.parameters() if p.requires_grad]
    policy.model.zero_grad(set_to_none=True)

    def work(number: int, group: list[int]) -> float:
        batch = TokenBatch.from_examples([examples[i] for i in group], policy.device)
        theirs = torch.as_tensor(np.concatenate([base[i] for i in group]), device=policy.device)
        credit = policy.token_logprobs(batch).logprobs - theirs
        sums = torch.zeros(2 * len(group), device=policy.device).index_add(0, batch.response, credit)  # [R]
        loss = -logsigmoid(beta * (sums[0::2] - sums[1::2])).sum() / len(examples)
        loss.backward()
        return float(loss.detach())

    sizes = [e.tokens for e in examples]
    total = math.fsum(side_by_side(sizes, 2048, policy.device, work, parameters=parameters))
    square = sum(float(p.grad.float().pow(2).sum()) for p in parameters if p.grad is not None)
    with torch.no_grad():
        for p in parameters:
            if p.grad is not None and square > 0:
                p.sub_(p.grad, alpha=LOSS_DROP / square)
    policy.model.zero_grad(set_to_none=True)
    return total
