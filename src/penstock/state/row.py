"""What rows of budgets and of use stand for, apart from the database: the gateway has them long before it opens one."""

from __future__ import annotations

import msgspec


class Row(msgspec.Struct, frozen=True):
    """Which limit of whom, in which period."""

    holder: str
    """`key:ID` or `tenant:NAME`."""
    kind: str
    period: str = ""
    """`2026-11-21` or `2026-11`; empty for what comes back with time."""


class Want(msgspec.Struct, frozen=True):
    """A block that a process asks for: at least what a request needs, at most a stock for the next ones."""

    row: Row
    limit: int
    least: int
    most: int
    rate: float = 0.0
    """Of what is taken, how much comes back each second."""
    slots: bool = False
    """Lent for a time, for requests at the same time."""
    have: int = 0
    """Slots alone: how many this process counts on already."""


class Grant(msgspec.Struct, frozen=True):
    """What came of it."""

    granted: int
    left: float
    """Of the limit, after this; what others hold counts as gone."""


class Whose(msgspec.Struct, frozen=True):
    """Whose use it is: a key of a tenant, on a day."""

    day: str
    """`2026-11-21`, UTC."""
    tenant: str
    key: str
    """The key's id; the caller's name where it has none."""


class Sum(msgspec.Struct):
    """What was used."""

    requests: int = 0
    refused: int = 0
    """Turned away by a limit of the key or its tenant."""
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, other: Sum) -> None:
        """The same with another one's."""
        self.requests += other.requests
        self.refused += other.refused
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens
