"""How sure a count of pairs makes us. Pure arithmetic, exact where that is cheap.

`wilson` gives the range in which a share lies; `sign_test` says how often chance alone would favour one side as much as
was seen. Both are of the textbook: Wilson 1927, and McNemar's test in its exact form.
"""

from __future__ import annotations

import math

Z = 1.959963984540054
"""Two-sided 95 %."""


def wilson(count: int, of: int, z: float = Z) -> tuple[float, float]:
    """The 95 % interval of a share; from 0 to 1 where nothing was counted."""
    if not of:
        return 0.0, 1.0
    share = count / of
    middle = share + z * z / (2 * of)
    reach = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    low, high = (middle - reach) / (1 + z * z / of), (middle + reach) / (1 + z * z / of)
    # The formula meets 0 and 1 exactly there, but for the last bit.
    return (0.0 if count == 0 else max(0.0, low)), (1.0 if count == of else min(1.0, high))


def sign_test(one: int, other: int) -> float:
    """How likely two fair sides differ at least so much, both directions counted; 1 where nothing was counted."""
    of = one + other
    if one == other:
        return 1.0
    tail = sum(math.comb(of, count) for count in range(min(one, other) + 1))
    # Whole numbers to the end: two to the power of some thousand pairs is no float, but the quotient is.
    return min(1.0, 2 * tail / (1 << of))
