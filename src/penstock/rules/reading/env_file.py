"""`.env` files: `NAME=value` lines, with or without `export` and quotes. Pure."""

from __future__ import annotations

import re

from penstock.rules.material import EnvFile, Setting
from penstock.rules.reading.text import Text

_LINE = re.compile(r"""\s*(?:export\s+)?([A-Za-z_][\w.-]*)\s*=\s*("(?:[^"\\]|\\.)*"|'[^']*'|.*?)\s*(?:\s#.*)?""")


def env_file(text: Text) -> EnvFile:
    found = [
        Setting(name=line[1], value=_unquoted(line[2]), at=text.at(text.first + index))
        for index, raw in enumerate(text.lines)
        if not raw.lstrip().startswith("#") and (line := _LINE.fullmatch(raw))
    ]
    return EnvFile(name=text.name, settings=tuple(found))


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value
