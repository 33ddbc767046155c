"""Normal quantiles, and Wilson's interval of a share."""

from __future__ import annotations

import math
from statistics import NormalDist

from tightrope.errors import InputError

Z95 = NormalDist().inv_cdf(0.975)


def wilson(successes: float, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share (1927): `successes` of `n`, halves allowed, both ends in [0, 1].

    Raises:
        InputError: n is below 1, or there are fewer than 0 or more than n successes.
    """
    if n < 1:
        raise InputError(f"no share of {successes} in {n}", remedy="Give at least one observation.")
    if not 0 <= successes <= n:
        raise InputError(f"{successes:g} successes in {n} trials", remedy=f"Give between 0 and {n} successes.")
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At the ends the interval touches 0 or 1 exactly; rounding must not cross it.
    return (0.0 if successes == 0 else centre - half), (1.0 if successes == n else centre + half)
