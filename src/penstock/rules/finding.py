"""What a rule has to say: where something stands, what is wrong with it, and how to mend it. Nouns only.

A secret that stands in a line of a file is masked when the evidence is made, so that no report can show it.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

MASK: Final = "•••"
KEPT: Final = 1000
"""Characters of a line that are looked at."""
LONGEST: Final = 200
"""Characters of a line that are shown."""

_SECRETIVE = (
    r"[\w.-]{0,64}?(?:api[_-]?key|access[_-]?key|private[_-]?key|(?<!max_)(?<!max-)token(?!iz|_ids|s\b)|secret|passw(?:or)?d|passphrase"
    r"|credentials?|(?<![a-z])key(?![a-z]))[\w.-]{0,64}(?<!_env)(?<!_file)(?<!_path)(?<!_name)(?<!-file)"
)
"""A name under which a secret stands."""
_GIVEN = re.compile(rf"(?i)(?<![\w.-])({_SECRETIVE}[\"']?\s*(?:=|:(?!//))\s*[\"']?)([^\s\"',}}\])]+)")
_OPTION = re.compile(rf"(?i)(?<![\w.-])(--{_SECRETIVE}[\"']?[\s,]+[\"']?)([^\s\"',}}\]):=-][^\s\"',}}\])]*)")
_FORMS = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{4,}"), rf"\1 {MASK}"),
    (re.compile(r"(?<![\w-])((?:sk|hf|gh[pousr]|glpat|xox[abp])[-_]|AKIA)[A-Za-z0-9_-]{8,}"), rf"\1{MASK}"),
    # vLLM takes several keys behind one --api-key
    (re.compile(r"(--api-key)((?:[\s,=\"']+[^\s\"',\]$-][^\s\"',\]]*)+)"), rf"\1 {MASK}"),
    (re.compile(r"(://)(?:[^\s\"'@/]+|[^\s\"'@/:]*:[^\s\"'@]+)@"), rf"\1{MASK}@"),
)
_HINT = re.compile(
    r"(?i)key|token|secret|passw|passphrase|credential|bearer|basic|sk[-_]|hf[-_]|gh[pousr][-_]|glpat|xox|akia|@"
)
"""Nearly every line has nothing of this, and needs no closer look."""
_HARMLESS = re.compile(r"(?i)\$.*|true|false|null|none|-?\d{1,6}|[|>][-+]?|https?://.*")


def masked(text: str) -> str:
    """The text without what looks like a password, a key or a token."""
    if not _HINT.search(text):
        return text
    for form, shown in _FORMS:
        text = form.sub(shown, text)
    return _OPTION.sub(_hidden, _GIVEN.sub(_hidden, text))


def _hidden(found: re.Match[str]) -> str:
    return found[0] if _HARMLESS.fullmatch(found[2]) else f"{found[1]}{MASK}"


class Evidence(msgspec.Struct, frozen=True):
    """One line of a file, or one thing that a server said (line 0)."""

    file: str
    line: int
    text: str

    @property
    def place(self) -> str:
        """`compose.yaml:12`, as editors take it."""
        return f"{self.file}:{self.line}" if self.line else self.file

    @property
    def shown(self) -> str:
        """As much of the text as a report shows."""
        return self.text if len(self.text) <= LONGEST else self.text[: LONGEST - 1] + "…"


def evidence(file: str, line: int, text: str) -> Evidence:
    """The only way evidence is made: the beginning of one line, without secrets."""
    return Evidence(file, line, masked(" ".join(text[:KEPT].split())))


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is wrong."""

    rule: str
    """The row of the acceptance table (`W7`), or the name of a live check (`keep-alive`)."""
    wrong: str
    evidence: tuple[Evidence, ...]
    mend: str
    claim: bool = False
    """A sentence of a document that does not hold, rather than something that would fail when started."""
