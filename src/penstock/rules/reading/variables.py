"""`$NAME` and `${NAME:-default}` replaced by what is known, as a shell or compose would. Pure text.

What is not known stays as it is written, so that a rule can see that it cannot tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import msgspec

from penstock.rules.finding import Evidence
from penstock.rules.material import Setting

DEEPEST: Final = 5
"""Values that name others are followed this often; a circle ends here."""
LONGEST: Final = 4096
"""Characters beyond which a value is no longer expanded."""

_REFERENCE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?:(:?[-=?+])((?:[^{}]|\{[^{}]*\})*))?\})")


class Expanded(NamedTuple):
    """A value, and the lines it came from."""

    text: str
    sources: tuple[Evidence, ...]

    @property
    def known(self) -> bool:
        """Whether no name is left in it that only the machine it runs on could tell."""
        return "$" not in self.text and "{{" not in self.text


def latest(*groups: Iterable[Setting]) -> dict[str, Setting]:
    """By name; a later group, and within it a later line, wins. `X=${X:-default}` takes the X before it."""
    known: dict[str, Setting] = {}
    for group in groups:
        for setting in group:
            own = any(setting.name in found.group(1, 2) for found in _REFERENCE.finditer(setting.value))
            value = _once(setting.value, known, []) if own else setting.value
            known[setting.name] = msgspec.structs.replace(setting, value=value)
    return known


def expand(text: str, known: Mapping[str, Setting]) -> Expanded:
    """The text with every name that is known replaced."""
    sources: list[Evidence] = []
    for _ in range(DEEPEST):
        before = text
        text = _once(text, known, sources)
        if text == before or len(text) > LONGEST:
            break
    return Expanded(text, tuple(dict.fromkeys(sources)))


def _once(text: str, known: Mapping[str, Setting], sources: list[Evidence]) -> str:
    return _REFERENCE.sub(lambda found: _value(found, known, sources), text)


def _value(found: re.Match[str], known: Mapping[str, Setting], sources: list[Evidence]) -> str:
    setting, operator, other = known.get(found[1] or found[2]), found[3] or "", found[4] or ""
    if setting is not None and (setting.value or not operator.startswith(":")):
        sources.append(setting.at)
        return setting.value
    return other if operator.endswith(("-", "=")) else found[0]
