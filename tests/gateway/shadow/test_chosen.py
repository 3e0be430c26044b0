"""Which requests are chosen: a share of them, by their ids alone."""

from __future__ import annotations

import pytest

from penstock.gateway.shadow import chosen


def test_a_share_is_a_share() -> None:
    ids = [b"req-%x" % number for number in range(20_000)]
    for share in (0.01, 0.3, 0.9):
        assert sum(chosen(one, "m", share) for one in ids) == pytest.approx(share * 20_000, rel=0.15)
    assert all(chosen(one, "m", 1.0) for one in ids)
    assert not any(chosen(one, "m", 0.0) for one in ids)
    one, other = ({id_ for id_ in ids if chosen(id_, alias, 0.3)} for alias in ("a", "b"))
    assert len(one & other) < 0.5 * len(one), "two aliases choose each for itself"
