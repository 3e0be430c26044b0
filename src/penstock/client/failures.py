"""What a call can end in, as far as the library adds to the error tree of penstock.errors.

    Unreachable ── ConnectFailed (also a ConnectionError), ConnectionDied (also a ConnectionError)
    EngineTimeout ── TookTooLong (also a TimeoutError)
    NotLoaded ── ModelNotServed
    EngineFault ── WrongPath

The built-in classes stand beside ours because code written against other clients catches those. No I/O here.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.errors import EngineFault, EngineTimeout, NotLoaded, Unreachable
from penstock.shape import nearest

_LISTED = 20
"""Names of served models that a message repeats."""


class ConnectFailed(Unreachable, ConnectionError):
    """No connection came about: nothing was asked, so another engine may be asked at once (X5)."""


class ConnectionDied(Unreachable, ConnectionError):
    """The connection broke before the first byte of an answer."""


class TookTooLong(EngineTimeout, TimeoutError):
    """The time for the call, or for one wait in it, is over."""


class WrongPath(EngineFault):
    """404 for the path itself: this URL is no API of the kind that was expected; distinct from a wrong model (W31)."""

    status = 404
    code = "route_not_found"
    reason = "no_route"


class ModelNotServed(NotLoaded):
    """The engine answers, and does not have this model. `served` lists what it has."""

    status = 404
    code = "model_not_found"

    def __init__(self, model: str, url: str, served: Sequence[str] | None) -> None:
        self.model = model
        self.url = url
        self.served = tuple(served or ())
        super().__init__(
            f"The engine at {url} does not serve the model {model!r}; {_listed(served)}.", hint=self._hint()
        )

    def _hint(self) -> str:
        return f"Ask for it by its exact name: {nearest(self.model, list(self.served))}" if self.served else ""


def _listed(served: Sequence[str] | None) -> str:
    if served is None:
        return "what it serves could not be asked"
    if not served:
        return "it serves none"
    more = f" and {len(served) - _LISTED} more" if len(served) > _LISTED else ""
    return f"it serves {', '.join(served[:_LISTED])}{more}"
