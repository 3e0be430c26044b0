"""What one check of a running server came to. Nouns only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from penstock.doctor.server import Server
from penstock.rules.finding import Evidence, Finding

State = Literal["ok", "wrong", "unknown"]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One check of one server."""

    check: str
    url: str
    state: State
    tried: tuple[str, ...]
    """The questions that were asked, in order."""
    said: str
    """What was seen, in one sentence."""
    findings: tuple[Finding, ...] = ()


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to look at in a running server."""

    name: str
    rows: str
    """Rows of the acceptance table behind it."""
    title: str
    asks: str
    """The requests it sends, for the reference."""
    look: Callable[[Server], Result]
    alone: bool = False
    """It mostly waits: run it beside the others."""


def ok(check: str, server: Server, said: str, *tried: str) -> Result:
    return Result(check=check, url=server.url, state="ok", tried=tried, said=said)


def unknown(check: str, server: Server, said: str, *tried: str) -> Result:
    """Nothing can be said: that is no finding."""
    return Result(check=check, url=server.url, state="unknown", tried=tried, said=said)


def wrong(check: str, server: Server, what: str, mend: str, evidence: tuple[Evidence, ...], *tried: str) -> Result:
    """One finding, under the check's name."""
    found = Finding(rule=check, wrong=what, mend=mend, evidence=evidence)
    return Result(check=check, url=server.url, state="wrong", tried=tried, said=what, findings=(found,))
