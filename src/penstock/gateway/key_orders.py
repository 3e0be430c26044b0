"""Orders about keys: made, listed, revoked, replaced, on the state and its pepper. Blocking; knows no sockets.

The gateway carries them out for whoever reaches its admin socket; where no gateway runs, the command line does it itself.
"""

from __future__ import annotations

import os
import time

import msgspec

from penstock.config import Config
from penstock.errors import BadRequest
from penstock.scopes import aliases_named
from penstock.shape import nearest
from penstock.state import keys, pepper
from penstock.state.key import Key, Made, Named, Rotate, Wanted
from penstock.state.store import Store


class KeyOrders:
    """On one state."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        self._store = store

    def create(self, wanted: Wanted) -> dict[str, object]:
        """A new key, with its secret."""
        keys.check(wanted)
        for alias in aliases_named(wanted.scopes):
            if alias not in self._config.aliases:
                known = nearest(alias, list(self._config.aliases))
                raise BadRequest(f"Making a key: {alias!r} is no alias.", hint=f"{known.capitalize()}.")
        return _made(keys.create(self._store, self._pepper(), wanted, time.time()))

    def rotate(self, order: Rotate) -> dict[str, object]:
        """Its successor, with its secret."""
        if order.overlap < 0:
            raise BadRequest("Replacing a key: the overlap is negative.")
        return _made(keys.rotate(self._store, self._pepper(), order.key, order.overlap, time.time()))

    def revoke(self, order: Named) -> dict[str, object]:
        """The key, which nobody can ask with any more."""
        return shown(keys.revoke(self._store, order.key, time.time()))

    def show(self, order: Named) -> dict[str, object]:
        """One key."""
        return shown(keys.find(self._store, order.key))

    def list(self) -> dict[str, object]:
        """All of them."""
        return {"keys": [shown(one) for one in keys.listed(self._store)]}

    def _pepper(self) -> bytes:
        """Made with the first key. Where keys were made with another one, a new one would not know them."""
        url, variable = self._config.state, self._config.auth.pepper_env
        if pepper.read(url, variable, os.environ) is None and keys.listed(self._store):
            raise BadRequest(
                f"Making a key: the pepper at {pepper.place(url)} is gone, and no key that was made is known without it.",
                hint="Bring it back from the backup of the state.",
            )
        return pepper.make(url, variable, os.environ)


def shown(key: Key) -> dict[str, object]:
    """A key as it may be shown: all of it but the secret, which nobody has."""
    told: dict[str, object] = msgspec.to_builtins(key)
    return {**told, "state": key.state(time.time())}


def _made(made: Made) -> dict[str, object]:
    return {"secret": made.secret, **shown(made.key)}
