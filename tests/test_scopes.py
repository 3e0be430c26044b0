"""How scopes add up."""

from __future__ import annotations

import pytest

from penstock.scopes import aliases_named, opens_alias, opens_route, problem


@pytest.mark.parametrize(
    ("scopes", "alias", "route"),
    [
        ({"*"}, True, True),
        ({"alias:m"}, True, True),
        ({"alias:other"}, False, True),
        ({"route:chat"}, True, True),
        ({"route:embedding"}, True, False),
        ({"alias:m", "route:embedding"}, True, False),
        ({"alias:other", "route:chat"}, False, True),
        ({"alias:m", "alias:other", "route:chat"}, True, True),
        ({"admin"}, False, False),
        ({"admin", "alias:m"}, True, True),
        (set(), False, False),
        ({"alias:m2"}, False, True),
    ],
)
def test_both_must_be_open(scopes: set[str], *, alias: bool, route: bool) -> None:
    """The alias m and the operation chat."""
    assert opens_alias(scopes, "m") is alias
    assert opens_route(scopes, "chat") is route


def test_how_scopes_are_written() -> None:
    assert [problem(one) for one in ("*", "admin", "alias:a/b:c", "route:chat")] == ["", "", "", ""]
    for wrong in ("", "alias:", "alias:a\nb", "route:", "route:Chat", "Admin", "alias", "m", "alias:" + "x" * 400):
        assert problem(wrong)
    assert list(aliases_named(("*", "alias:a:b", "route:chat"))) == ["a:b"]
