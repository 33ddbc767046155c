"""The report of `tightrope data inspect` for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tightrope.data.rendering import print_rendered, visible

SHOWN_AUTHORS = 4
SHOWN_RANKS = 8


def print_inspection(report: Mapping[str, Any], console: Console) -> None:
    """Prints a report of `inspect_command` for people."""
    kinds = ", ".join(_counted(n, kind) for kind, n in report["kinds"].items()) or "no usable rows"
    console.print(f"[bold]{_safe(report.get('file', ''))}[/]  layout [bold]{report['format']}[/]: {kinds}")
    print_account(report["account"], console)
    table = Table("lengths", box=None, pad_edge=False)
    for name in ("n", "mean", "median", "90 %", "longest"):
        table.add_column(name, justify="right")
    tokens = report.get("tokens", {})
    for title, row in (
        ("prompt, characters", report["prompt_chars"]),
        ("response, characters", report["response_chars"]),
        ("prompt, tokens", tokens.get("prompt", {"n": 0})),
        ("response, learnt tokens", tokens.get("response", {"n": 0})),
    ):
        if row["n"]:
            numbers = f"{row['mean']:.0f}", f"{row['median']:.0f}", str(row["p90"]), str(row["max"])
            table.add_row(title, str(row["n"]), *numbers)
    if table.row_count:
        console.print(table)
    if tokens and tokens["records"] < tokens["of"]:
        console.print(f"[dim]tokens of {tokens['records']} of {tokens['of']} records[/]")
    for why, n in tokens.get("refused", {}).items():
        console.print(f"  [yellow]{n} cannot be encoded[/]: {_safe(why)}")
    for kind, show in _KINDS.items():
        if kind in report:
            show(report[kind], console)
    if "comparison" in tokens:
        _print_contrast(tokens["comparison"], "in tokens, chosen", console)
    console.print(
        f"duplicate prompts {report['duplicate_prompts']}, duplicate records {report['duplicate_records']}\n"
        f"missing ends: cut by a length limit {report['cut_by_length']}, "
        f"no final punctuation {report['no_final_punctuation']}, empty responses {report['empty_responses']}"
    )
    for text in report.get("rendered", ()):
        print_rendered(text, console)


def _safe(text: str) -> str:
    """Text of a file or a path as it may stand in a line with markup."""
    return escape(visible(text))


def print_account(account: Mapping[str, Any], console: Console, source: str = "") -> None:
    """Prints what became of every row; `source` is named where the reader does not know it yet."""
    several = f", {account['records']} records" if account["records"] != account["kept"] else ""
    left = "".join(
        f", {words} {account[what]}"
        for what, words in (("without_wanted_tag", "without a wanted tag"), ("over_limit", "above the limit"))
        if what in account
    )
    named = f"{_safe(source)}: " if source else ""
    console.print(f"{named}rows read {account['rows_read']}, kept {account['kept']}{several}{left}")
    for what in ("dropped", "repaired", "noted"):
        for why, entry in account[what].items():
            first = _safe(entry["first"][0])
            console.print(f"  [yellow]{what} {entry['count']}[/]: {_safe(why)}  [dim](first: {first})[/]")
    for column, n in account["left_out"].items():
        console.print(f"  [dim]not used in {n} rows: {_safe(column)}[/]")


def _print_contrast(lengths: Mapping[str, Any], what: str, console: Console) -> None:
    low, high = lengths["longer_chosen_interval"]
    colour = "yellow" if low > 0.5 or high < 0.5 else "green"
    console.print(
        f"{what} is the longer one in [{colour}]{100 * lengths['longer_chosen']:.1f} %[/] "
        f"[dim](ties half; 95 % interval {100 * low:.1f} to {100 * high:.1f})[/]\n"
        f"  of {lengths['pairs']} pairs {lengths['chosen_longer']} longer, {lengths['rejected_longer']} shorter, "
        f"{lengths['equal']} equal; mean {lengths['mean_chosen']:.0f} against {lengths['mean_rejected']:.0f} "
        f"({lengths['mean_difference']:+.0f})"
    )


def _print_comparisons(found: Mapping[str, Any], console: Console) -> None:
    _print_contrast(found["lengths"], "in characters, chosen", console)
    if found["margins"]["n"]:
        console.print(f"margins: {_spread(found['margins'])}")
    for side in ("chosen", "rejected"):
        authors = list(found[f"authors_{side}"].items())
        if authors:
            shown = ", ".join(f"{_safe(name)} {n}" for name, n in authors[:SHOWN_AUTHORS])
            more = f" and {len(authors) - SHOWN_AUTHORS} more" if len(authors) > SHOWN_AUTHORS else ""
            console.print(f"{side} by {shown}{more}")


def _print_ratings(found: Mapping[str, Any], console: Console) -> None:
    console.print(
        f"desirable {found['desirable']}, undesirable {found['undesirable']}, scored {found['scored']}; "
        f"{found['prompts']} prompts, {found['prompts_with_several']} with several rated responses"
    )
    if found["desirable"] and found["undesirable"]:
        up, down = found["chars_desirable"], found["chars_undesirable"]
        console.print(f"in characters, mean {up['mean']:.0f} desirable against {down['mean']:.0f} undesirable")
    if found["scores"]["n"]:
        by_length = found["score_length_spearman"]
        tail = "" if by_length is None else f"; rank correlation with length {by_length:+.2f}"
        console.print(f"scores: {_spread(found['scores'])}{tail}")
    if found["one_class"]:
        console.print("[yellow]all responses are rated alike: nothing tells good from bad[/]")


def _print_rankings(found: Mapping[str, Any], console: Console) -> None:
    sizes = ", ".join(f"{n} of {k} responses" for k, n in found["responses"].items())
    console.print(f"rankings: {sizes}; with ties {found['with_ties']}")
    by_rank = list(found["chars_by_rank"].items())
    means = "  ".join(f"{rank}: {row['mean']:.0f}" for rank, row in by_rank[:SHOWN_RANKS])
    more = f"  [dim]and {len(by_rank) - SHOWN_RANKS} ranks more[/]" if len(by_rank) > SHOWN_RANKS else ""
    console.print(f"mean characters by rank (0 best)  {means}{more}")
    _print_contrast(found["best_against_worst"], "in characters, the best", console)


def _print_safety(found: Mapping[str, Any], console: Console) -> None:
    safe = found["safe_responses"]
    pairs = sum(safe.values())
    console.print(
        f"both safe {safe.get(2, 0)}, one safe {safe.get(1, 0)}, both unsafe {safe.get(0, 0)}; "
        f"the more helpful one is also the less harmful one in {found['better_is_safer']} of {pairs}"
    )
    colour = "yellow" if found["contradictions"] else "green"
    console.print(
        f"the less harmful one is unsafe while the other one is safe: [{colour}]{found['contradictions']}[/] "
        "[dim](kept as labelled)[/]"
    )
    _print_contrast(found["better_lengths"], "in characters, the more helpful one", console)
    _print_contrast(found["safer_lengths"], "in characters, the less harmful one", console)
    if found["chars_safe"]["n"] and found["chars_unsafe"]["n"]:
        console.print(
            f"mean characters: safe {found['chars_safe']['mean']:.0f}, unsafe {found['chars_unsafe']['mean']:.0f}"
        )


def _print_steps(found: Mapping[str, Any], console: Console) -> None:
    count, labels, ends = found["steps"], found["labels"], found["outcomes"]
    console.print(
        f"steps: {count['mean']:.1f} a response, {count['max']} at most; labels good {labels['good']}, "
        f"neutral {labels['neutral']}, bad {labels['bad']}, without a label {found['unlabelled_steps']}"
    )
    wrong = found["first_bad_step"]
    first = f"; the first bad step is number {wrong['mean']:.1f} on average" if wrong["n"] else ""
    console.print(f"outcome by the last step: good {ends['good']}, bad {ends['bad']}, open {ends['open']}{first}")
    means = ", ".join(f"{name} {row['mean']:.0f}" for name, row in found["chars_by_label"].items())
    console.print(f"mean characters of a step: {means}")
    if found["good_after_bad"]:
        console.print(f"[yellow]a good step after a bad one[/] in {found['good_after_bad']} responses")


def _spread(found: Mapping[str, Any]) -> str:
    return f"{found['n']} from {found['min']:g} to {found['max']:g}, mean {found['mean']:.2f}"


def _counted(n: int, kind: str) -> str:
    words = kind.replace("_", " ")
    return f"{n} {words}" if n == 1 or words.endswith("s") or words == "sampled" else f"{n} {words}s"


_KINDS: dict[str, Callable[[Mapping[str, Any], Console], None]] = {
    "comparison": _print_comparisons,
    "rating": _print_ratings,
    "ranking": _print_rankings,
    "safety_comparison": _print_safety,
    "step_labels": _print_steps,
}
