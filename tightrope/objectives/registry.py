"""The table of objectives, read by recipes, by `tightrope methods`, by the docs and by the tests."""

from __future__ import annotations

import difflib

from tightrope.errors import InputError
from tightrope.objectives import (
    all_pairs,
    aot,
    apo,
    bco,
    bradley_terry,
    cost,
    cpo,
    discopop,
    dno,
    dpo,
    dpop,
    exo,
    f_dpo,
    gpo,
    ipo,
    kto,
    ld_dpo,
    ln_dpo,
    nca,
    nca_kwise,
    nll,
    nll_chosen,
    odin,
    orpo,
    outcome,
    pairwise,
    plackett_luce,
    ppo,
    process,
    r_dpo,
    simpo,
    slic,
    sppo,
    tdpo,
    wpo,
)
from tightrope.objectives.base import Card, Objective

_OBJECTIVES: dict[str, Objective] = {
    objective.card.name: objective
    for objective in (
        nll.OBJECTIVE,
        nll_chosen.OBJECTIVE,
        dpo.OBJECTIVE,
        f_dpo.OBJECTIVE,
        gpo.OBJECTIVE,
        ipo.OBJECTIVE,
        ln_dpo.OBJECTIVE,
        ld_dpo.OBJECTIVE,
        r_dpo.OBJECTIVE,
        dpop.OBJECTIVE,
        tdpo.OBJECTIVE,
        wpo.OBJECTIVE,
        exo.OBJECTIVE,
        nca.OBJECTIVE,
        nca_kwise.OBJECTIVE,
        apo.OBJECTIVE,
        aot.OBJECTIVE,
        discopop.OBJECTIVE,
        sppo.OBJECTIVE,
        dno.OBJECTIVE,
        orpo.OBJECTIVE,
        cpo.OBJECTIVE,
        simpo.OBJECTIVE,
        slic.OBJECTIVE,
        kto.OBJECTIVE,
        bco.OBJECTIVE,
        bradley_terry.OBJECTIVE,
        plackett_luce.OBJECTIVE,
        all_pairs.OBJECTIVE,
        cost.OBJECTIVE,
        outcome.OBJECTIVE,
        process.OBJECTIVE,
        pairwise.OBJECTIVE,
        odin.OBJECTIVE,
        ppo.OBJECTIVE,
    )
}


def register(objective: Objective) -> None:
    """Adds an objective from outside the package.

    Raises:
        InputError: the name is taken.
    """
    name = objective.card.name
    if name in _OBJECTIVES:
        raise InputError(f"an objective called {name!r} exists", remedy="Give yours another name.")
    _OBJECTIVES[name] = objective


def get(name: str) -> Objective:
    """Returns an objective by name.

    Raises:
        InputError: there is none of that name.
    """
    if name not in _OBJECTIVES:
        close = difflib.get_close_matches(name, _OBJECTIVES, 1)
        raise InputError(
            f"no objective is called {name!r}",
            remedy=f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(_OBJECTIVES)}.",
        )
    return _OBJECTIVES[name]


def objectives() -> list[Objective]:
    """Returns all objectives."""
    return list(_OBJECTIVES.values())


def cards() -> list[Card]:
    """Returns the cards of all objectives."""
    return [objective.card for objective in _OBJECTIVES.values()]
