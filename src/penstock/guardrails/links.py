"""Takes links to other hosts out of an answer, so that nothing said in it can be carried away by showing it.

A model that was talked into it writes an address with what it knows in the path, and whoever shows the answer fetches it: a
picture at once, a link on a click. Markdown, HTML and bare addresses need not be told apart for that: every address, however
it is dressed, has a host, and one that is not on the list goes, with its path. What renderers decode first (references of
HTML, backslashes, line ends inside an address) is read as they would, or taken out where that is in doubt.

An address whose host is allowed stays, and is looked at further: one inside its query goes like any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from penstock.guardrails.text import Verdicts
from penstock.patterns import Pattern

MARK = "[link removed]"
LONGEST_HOST = 300
"""Characters of a host with its port; no real one has as many."""

_HEADS = Pattern(
    r"(?i)[a-z0-9+.\-\\]{0,32}:[/\\]{2,8}"  # scheme://
    r"|\bhttps?\\?:[/\\]?"  # which browsers also take with one slash, or none
    r"|\b(?:javascript|vbscript|data|blob|file)\\?:"
    r"|\bwww\."
    r"|[/\\][\t\r\n]{0,200}[/\\]{1,8}"  # //host, and what browsers take for it
    r"|&#[0-9x]|&(?:sol|bsol|colon|tab|newline|period);"
)
_ENDS = re.compile(r"""[\s/\\?#<>"'`()\[\]{}|^]""")
"""What ends a host."""
_AFTER = frozenset(" \t\r\n\f\v<>\"'`()[]{}|^")
"""What ends an address."""
_AFTER_BRACKET = _AFTER - frozenset("[]")
"""The same where the host itself stands in brackets."""
_INSIDE = frozenset("\t\r\n")
"""What browsers take out of an address."""
_SPACE = frozenset(" \t\r\n\f\v")
_PLACES = frozenset("(\"'=<,:")
"""Behind which an address without a scheme is one: `](//host`, `src=//host`, `[1]: //host`, `url(//host`, `srcset`."""
_STRICT = re.compile(r"([a-z0-9](?:[a-z0-9.\-]*[a-z0-9])?)(?::[0-9]{1,5})?")
_LIKELY = re.compile(r"[.:%@\[\u0080-\U0010ffff]|^[0-9]")
_TRAILING = ".,;:!?*_~"
_SCHEMES = frozenset({"http://", "https://", "//", "www."})
_DRIVE = re.compile(r"[a-z]:\\+")
_ODD = re.compile(r"(?:javascript|vbscript|data|blob|file)\\?:")


class Hosts:
    """The hosts that may be linked to."""

    def __init__(self, names: Iterable[str]) -> None:
        self._exact: set[str] = set()
        self._below: list[str] = []
        for name in names:
            host = name.lower().rstrip(".")
            if host.startswith("*."):
                self._below.append(host[1:])
            else:
                self._exact.add(host)

    def allow(self, host: str) -> bool:
        """Whether this one is listed, or stands below one that is."""
        return host in self._exact or any(host.endswith(below) and host != below for below in self._below)


class Links:
    """One text."""

    __slots__ = ("_after", "_at", "_before", "_gap", "_head", "_hosts", "_mode", "_text", "_verdicts")

    def __init__(self, hosts: Hosts, verdicts: Verdicts) -> None:
        self._hosts = hosts
        self._verdicts = verdicts
        self._text = ""
        self._at = 0
        self._before = ""
        """The last character that is no space, of what was decided."""
        self._gap = False
        """Whether a space stands behind it."""
        self._head = ""
        self._after = _AFTER
        self._mode = _LOOK

    def feed(self, text: str) -> str:
        """What may go on."""
        self._text = self._text[max(self._at - 1, 0) :] + text
        self._at = min(self._at, 1)
        return self._go(last=False)

    def end(self) -> str:
        """The rest; afterwards it is as new."""
        found = self._go(last=True)
        self._text, self._at, self._before, self._gap, self._head, self._mode = "", 0, "", False, "", _LOOK
        return found

    def _go(self, *, last: bool) -> str:
        parts: list[str] = []
        while self._mode(self, parts, last):
            pass
        return "".join(parts)

    def _take(self, until: int) -> str:
        """Decided up to there."""
        taken = self._text[self._at : until]
        bare = taken.rstrip()
        if bare:
            self._before, self._gap = bare[-1], len(bare) < len(taken)
        elif taken:
            self._gap = True
        self._at = until
        return taken

    def _look(self, parts: list[str], last: bool) -> bool:  # noqa: FBT001 - one of three modes with one face
        text, at = self._text, self._at
        until = len(text) if last else _HEADS.decided(text, at)
        found = _HEADS.search(text, at)
        if found is None or found[0] >= until:
            parts.append(self._take(max(at, until)))
            return False
        self._verdicts.spend("output")
        begin, end = found
        parts.append(self._take(begin))
        if text[begin] == "&":
            # A renderer would read a letter, a colon or a slash of an address here; so it reads the reference itself.
            self._verdicts.note("links", "escaped")
            self._take(begin + 1)
            parts.append("&amp;")
            return True
        self._head = text[begin:end]
        self._at = end
        self._mode = _HOST
        return True

    def _host(self, parts: list[str], last: bool) -> bool:  # noqa: FBT001
        text, at = self._text, self._at
        found = _ENDS.search(text, at, at + LONGEST_HOST + 1)
        if found is None and len(text) - at <= LONGEST_HOST and not last:
            return False
        end = found.start() if found is not None else min(len(text), at + LONGEST_HOST + 1)
        self._mode = _LOOK
        if self._stays(text[at:end], text[end : end + 1]):
            head, self._head = self._head, ""
            parts.append(head)
            self._before, self._gap = head[-1], False
            parts.append(self._take(end))
            return True
        parts.append(MARK)
        self._after = _AFTER_BRACKET if text[end : end + 1] == "[" and end == at else _AFTER
        self._before, self._gap = "]", False
        self._verdicts.note("links", "removed")
        self._mode = _BROKEN if self._head.lower() not in _SCHEMES and self._head[-1] in "/\\" else _DROP
        self._head = ""
        return True

    def _stays(self, host: str, after: str) -> bool:
        head = self._head.lower()
        if _ODD.fullmatch(head):
            return self._before not in _PLACES or (not host and (not after or after in _SPACE))
        if head.startswith(("http:", "https:", "http\\:", "https\\:")) and head not in _SCHEMES:
            return not host and head.endswith(":") and after not in {"[", "/", "\\", "?", "#"}
        if _DRIVE.fullmatch(head):
            return True
        bare = head[0] in "/\\"
        if bare and (self._before not in _PLACES or (self._gap and not _LIKELY.search(host))):
            return True
        if not host:
            return after != "["
        strict = _STRICT.fullmatch((head if head == "www." else "") + host.lower().rstrip(_TRAILING))
        return head in _SCHEMES and after != "\\" and strict is not None and self._hosts.allow(strict.group(1))

    def _broken(self, parts: list[str], last: bool) -> bool:  # noqa: FBT001
        """Line ends inside an address, between its slashes."""
        del parts, last
        while self._at < len(self._text) and self._text[self._at] in _INSIDE:
            self._at += 1
        if self._at == len(self._text):
            return False
        self._mode = _DROP
        return True

    def _drop(self, parts: list[str], last: bool) -> bool:  # noqa: FBT001
        del parts, last
        text = self._text
        at = self._at
        while at < len(text) and text[at] not in self._after:
            at += 1
        self._at = at
        if at == len(text):
            return False
        self._mode = _LOOK
        return True


_LOOK, _HOST, _BROKEN, _DROP = Links._look, Links._host, Links._broken, Links._drop  # noqa: SLF001 - its modes
