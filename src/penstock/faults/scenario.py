"""What a scenario is: one fault, set upon a real gateway, and what must come of it. Frozen values, no I/O.

To add one, write a function in `scenarios/<noun>.py` and name it in that file's `SCENARIOS`; the catalogue finds the file:

    async def refused(site: Site) -> None:
        \"\"\"A is not there: B answers.\"\"\"                        # first line: what the table shows as expected
        await site.a.stop()                                       # the fault, on a real socket
        seen = await site.ask(stream=True)                        # what a client sees, judged by its bytes
        answered(seen, by=site.b)                                 # raises Failed("what was expected, what was seen")
        await site.counted("penstock_fallback_total", 1, {"from": "a", "to": "b", "reason": "connect"})
        await site.logged(event="request", backend="b", fallback="connect")

    SCENARIOS = (Scenario(1, "refused", refused),)

Every scenario has engines and a gateway of its own, so it may break what it likes, and several run at the same time: wait
for what happens, never for time to pass. It must hold for any gateway; what only ours has (`counted`, `logged`) is not
asked of others. A scenario that cannot hold for others names what it needs, and one that starts gateways with a
configuration of its own (`site.penstock`) says `own=True`, so that none is started for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.faults.site import Site


class Need(StrEnum):
    """What must be possible for a scenario to be run at all."""

    PROCESS = "a gateway that we started: its process is signalled, limited or watched"
    PENSTOCK = "Penstock: its configuration, its admin socket or its figures"
    ROOT = "root: namespaces and mounts of our own"
    FAKETIME = "libfaketime: a clock of our own"


class Failed(Exception):
    """The gateway did something else: what was expected, what was seen."""


class NotHere(Exception):
    """The scenario cannot be run on this machine after all; it says why. Never a pass."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One fault and the function that sets it and judges."""

    row: int
    """Its row of the catalogue."""
    name: str
    """Short, unique within its row, in the form of an option: `pooled-reset`."""
    run: Callable[[Site], Awaitable[None]]
    needs: frozenset[Need] = frozenset()
    own: bool = False
    """It starts gateways itself with `site.penstock`: none is started for it."""
    alone: bool = False
    """It takes so much of the machine that no other scenario shall run beside it."""
    limit: float = 60.0
    """Seconds it may take altogether before it counts as failed."""

    @property
    def id(self) -> str:
        """As tests and tables name it."""
        return f"{self.row:02d}-{self.name}"

    @property
    def expected(self) -> str:
        """What must come of it: the first line of its docstring."""
        return (self.run.__doc__ or "").strip().partition("\n")[0]
