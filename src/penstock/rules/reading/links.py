"""URLs in commands and in text as what they fetch. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from penstock.rules.finding import Evidence
from penstock.rules.material import Command, Scrape

FETCHERS = frozenset({"curl", "wget", "http", "https", "xh"})
_URL = re.compile(r"""https?://[^\s"'<>\\)\]}`,]+""")


def fetched(command: Command) -> Iterator[Scrape]:
    """What a command such as curl asks for, each of its URLs."""
    if any(word.text.rpartition("/")[2] in FETCHERS for word in command.words):
        for word in command.words:
            yield from urls(word.text, word.at)


def urls(text: str, at: Evidence) -> Iterator[Scrape]:
    for found in _URL.findall(text):
        try:
            parts = urlsplit(found)
            port = parts.port
        except ValueError:
            continue
        usual = 443 if parts.scheme == "https" else 80
        yield Scrape(host=parts.hostname or "", port=str(port or usual), path=parts.path, at=at)
