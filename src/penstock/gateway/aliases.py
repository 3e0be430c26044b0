"""Which alias a client means: exact names, their `also`, and Ollama's `:latest` habit."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from penstock.config import Alias
from penstock.errors import UnknownAlias
from penstock.gateway.auth import may_use
from penstock.protocols.names import lookup
from penstock.types import LOCAL, Caller, Face

_SHOWN = 20


class Names:
    """Every name clients may use, pointing at its alias."""

    def __init__(self, aliases: Mapping[str, Alias], default: str) -> None:
        self.aliases = aliases
        self.default = default
        self._names: dict[str, str] = {}
        for name, alias in aliases.items():
            for one in (name, *alias.also):
                self._names[one] = name
        for one, name in list(self._names.items()):
            for spelling in lookup(one):
                self._names.setdefault(spelling, name)

    def find(self, asked: str, face: Face, caller: Caller = LOCAL) -> str:
        """The alias behind a name; an empty name is the default. `UnknownAlias` lists what this caller may use."""
        name = self._names.get(asked) if asked else self.default
        if name is None:
            raise UnknownAlias(self._unknown(asked, face, caller), hint=self._nearest(asked, caller), param="model")
        return name

    def _unknown(self, asked: str, face: Face, caller: Caller) -> str:
        served = [name for name in self.aliases if may_use(caller, name)]
        shown = ", ".join(served[:_SHOWN]) + (f" and {len(served) - _SHOWN} more" if len(served) > _SHOWN else "")
        # Ollama's clients look for Ollama's own words.
        words = (
            f"model {asked[:200]!r} not found"
            if face is Face.OLLAMA
            else f"The model {asked[:200]!r} is not served here"
        )
        return f"{words}. Served: {shown}."

    def _nearest(self, asked: str, caller: Caller) -> str:
        names = [one for one, alias in self._names.items() if may_use(caller, alias)]
        near = difflib.get_close_matches(asked.lower()[:200], names, n=1, cutoff=0.5)
        return f"Did you mean {near[0]!r}?" if near else ""
