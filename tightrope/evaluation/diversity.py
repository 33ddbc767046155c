"""How differently a model answers different prompts.

Distinct-n (Li et al. 2016), EAD (Liu et al. 2022) and self-BLEU (Zhu et al. 2018) over one answer per prompt:
diversity ACROSS prompts. Preference training lowers the diversity among several answers to ONE prompt more
strongly (Kirk et al. 2023, 2310.06452); that takes several samples per prompt and is `within_prompts`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from tightrope.evaluation.stats import Better, Bootstrap, Figure, Floats, difference, from_draws, mean, withheld
from tightrope.evaluation.style import words
from tightrope.records import Sampled

Words = Sequence[str]
Gram = tuple[str, ...]


def ngrams(text: Words, n: int) -> list[Gram]:
    """All n-grams of a text in order."""
    return [tuple(text[i : i + n]) for i in range(len(text) - n + 1)]


def distinct(texts: Sequence[Words], n: int) -> float:
    """Unique n-grams over all n-grams of the texts; NaN without any.

    It falls with length: compare texts of equal length, or use `expectation_adjusted_distinct`.
    """
    grams = [gram for t in texts for gram in ngrams(t, n)]
    return len(set(grams)) / len(grams) if grams else math.nan


def expectation_adjusted_distinct(texts: Sequence[Words], n: int, vocabulary: int) -> float:
    """EAD: distinct n-grams over their expected number, were they drawn evenly from `vocabulary` n-grams.

    Above 1 where a text repeats itself less than even draws would.
    """
    grams = [gram for t in texts for gram in ngrams(t, n)]
    return _adjusted(len(set(grams)), len(grams), vocabulary)


def _adjusted(unique: int, total: int, vocabulary: int) -> float:
    if not total or vocabulary < 1:
        return math.nan
    return unique / (vocabulary * (1 - ((vocabulary - 1) / vocabulary) ** total))


def self_bleu(texts: Sequence[Words], n: int = 2) -> list[float]:
    """BLEU-n of each text with all others as references: clipped counts, closest length, no smoothing.

    1 means everybody says the same. A text without an n-gram gives NaN. Linear in the size of the texts.
    """
    counts = [[Counter(ngrams(t, k)) for k in range(1, n + 1)] for t in texts]
    # Largest and second-largest count of every n-gram: the largest among the others, without a pass over
    # them.
    top: list[dict[Gram, tuple[int, int, int]]] = [{} for _ in range(n)]
    for who, levels in enumerate(counts):
        for k, level in enumerate(levels):
            for gram, count in level.items():
                first, owner, second = top[k].get(gram, (0, -1, 0))
                if count > first:
                    top[k][gram] = (count, who, first)
                elif count > second:
                    top[k][gram] = (first, owner, count)
    lengths = Counter(len(t) for t in texts)
    out = []
    for who, (text, levels) in enumerate(zip(texts, counts, strict=True)):
        if len(texts) < 2 or not all(levels):
            out.append(math.nan)
            continue
        logs = []
        for k, level in enumerate(levels):
            others = ((count, top[k][gram]) for gram, count in level.items())
            clipped = sum(min(c, second if owner == who else first) for c, (first, owner, second) in others)
            logs.append(math.log(clipped / sum(level.values())) if clipped else -math.inf)
        mine = len(text)
        near = [length for length, times in lengths.items() if times > (length == mine)]
        closest = min(near, key=lambda length: (abs(length - mine), length))
        brevity = 1.0 if mine > closest else math.exp(1 - closest / mine)
        out.append(brevity * math.exp(sum(logs) / n) if min(logs) > -math.inf else 0.0)
    return out


def influences(texts: Sequence[Words], n: int, statistic: Callable[[int, int], float]) -> tuple[float, Floats]:
    """A statistic of (distinct, all) n-grams, and what each text adds to it (jackknife, Efron 1982).

    Drawing prompts twice repeats their n-grams, so the plain bootstrap would see texts less distinct than
    they are. The mean of the influences over a draw moves as the statistic does, without that bias.

    Args:
        texts: tokenised texts.
        n: n-gram size.
        statistic: of the number of distinct and of all n-grams.

    Returns:
        The statistic on all texts and the influences [len(texts)], of mean 0; NaN when it is not defined.
    """
    own = [Counter(ngrams(t, n)) for t in texts]
    together: Counter[Gram] = Counter()
    for counter in own:
        together.update(counter)
    unique, total = len(together), sum(together.values())
    value = statistic(unique, total)
    without = []
    for counter in own:
        only_here = sum(1 for gram, count in counter.items() if together[gram] == count)
        without.append(statistic(unique - only_here, total - sum(counter.values())))
    left_out = np.array(without)
    return value, (len(texts) - 1) * (left_out.mean() - left_out)


def diversity_figures(boot: Bootstrap, model: Sequence[Sampled], reference: Sequence[Sampled]) -> dict[str, Figure]:
    """Distinct-1, -2, -3 at equal lengths, EAD of words, and self-BLEU-2."""
    said = [[words(s.response.text) for s in some] for some in (model, reference)]
    # Both sides are cut to the same number of words, prompt by prompt: distinct-n falls with length.
    pairs = list(zip(*said, strict=True))
    cut = [[p[side][: min(len(p[0]), len(p[1]))] for p in pairs] for side in (0, 1)]
    out = {}
    for n in (1, 2, 3):
        label = f"Distinct-{n} at equal lengths"
        out[f"distinct_{n}"] = _diversity(
            boot, cut, n, lambda unique, total: unique / total if total else math.nan, label
        )
    vocabulary = len({word for texts in said for text in texts for word in text})
    out["ead_1"] = _diversity(
        boot,
        said,
        1,
        lambda unique, total: _adjusted(unique, total, vocabulary),
        f"EAD of words (vocabulary: the {vocabulary} words of both models)",
        unit="of expected",
    )
    bleus = [np.array(self_bleu(texts)) for texts in said]
    out["self_bleu"] = difference(
        boot,
        *bleus,
        group="collapse",
        label="Self-BLEU-2 over answers (higher: all alike)",
        unit="0 to 1",
        better="lower",
        scale=1.0,
        share=False,
    )
    return out


def within_prompts(boot: Bootstrap, groups: Sequence[Sequence[str]]) -> dict[str, Figure]:
    """Diversity among several answers to one prompt, averaged over prompts.

    Of every group as many answers are taken as the smallest has, the first ones: the measures move with their number.
    Distinct-2 falls with length, too, so the mean length of the answers stands beside it.

    Args:
        boot: over the groups.
        groups: the answers to each prompt, two or more.
    """
    least = min(map(len, groups))
    said = [[words(text) for text in group[:least]] for group in groups]
    bleus = [[b for b in self_bleu(group) if math.isfinite(b)] for group in said]
    measured: dict[str, tuple[Sequence[float], str, str, Better]] = {
        "distinct_answers": (
            [len(set(map(tuple, group))) / least for group in said],
            f"Share of different answers among {least} to a prompt",
            "0 to 1",
            "higher",
        ),
        "distinct_2": ([distinct(group, 2) for group in said], "Distinct-2 within a prompt", "0 to 1", "higher"),
        "self_bleu": (
            [sum(b) / len(b) if b else math.nan for b in bleus],
            "Self-BLEU-2 within a prompt (higher: all alike)",
            "0 to 1",
            "lower",
        ),
        "words": ([sum(map(len, group)) / least for group in said], "Length of an answer", "words", "neither"),
    }
    return {
        name: mean(boot, np.array(values), group="collapse", label=label, unit=unit, better=better)
        for name, (values, label, unit, better) in measured.items()
    }


def _diversity(
    boot: Bootstrap,
    texts: Sequence[Sequence[Words]],
    n: int,
    statistic: Callable[[int, int], float],
    label: str,
    *,
    unit: str = "0 to 1",
) -> Figure:
    (mine, moves), (base, base_moves) = (influences(side, n, statistic) for side in texts)
    counted = len(texts[0])
    both = moves - base_moves
    if not (math.isfinite(mine) and math.isfinite(base) and np.isfinite(both).all()):
        reason = f"too few words for {n}-grams"
        return withheld(reason, n=counted, unit=unit, group="collapse", label=label, better="higher")
    return from_draws(
        boot,
        mine - base,
        mine - base + boot.means(both),
        n=counted,
        unit=unit,
        group="collapse",
        label=label,
        model=mine,
        reference=base,
        better="higher",
    )
