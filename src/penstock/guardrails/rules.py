"""The guardrails of one alias, read and compiled once: what every request of it is held to.

Where a file cannot be read, or is not the one that its version is bound to, nothing is served with the rules half known:
making them fails, and with it the start, or the reload that asked for them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping

import msgspec

from penstock.config_guardrails import Bound, Guardrails, Side
from penstock.errors import ConfigError
from penstock.guardrails.detectors import DETECTORS
from penstock.guardrails.find import Detector, Finder
from penstock.guardrails.links import Hosts, Links
from penstock.guardrails.schema import Held, Schema
from penstock.guardrails.text import Chain, Step, Verdict, Verdicts
from penstock.patterns import Pattern
from penstock.types import Operation

Read = Callable[[str], bytes]
"""The bytes of a file; raises `OSError`."""
COVERED = frozenset(
    {Operation.CHAT, Operation.COMPLETION, Operation.RESPONSES, Operation.MESSAGES, Operation.COUNT_TOKENS}
)
"""What rules can be kept to. All else is refused where an alias has any."""
PLACE = "{{prompt}}"
_LARGEST = 1024 * 1024


class Text(msgspec.Struct, frozen=True):
    """A text of the operator's, and what it is called."""

    text: str
    version: str
    digest: str


class Sought(msgspec.Struct, frozen=True):
    """A detector, and what becomes of a find."""

    detector: Detector
    refuses: bool
    on: frozenset[Side]


class Rules:
    """What the requests and answers of one alias are held to."""

    def __init__(self, given: Guardrails, read: Read) -> None:
        """`ConfigError` says what is wrong."""
        self.system = _bound(given.system, read, "system")
        self.template = _bound(given.template, read, "template")
        if self.template is not None and self.template.text.count(PLACE) != 1:
            raise ConfigError(f"Reading the guardrails' template: {PLACE} does not stand in it exactly once.")
        self._sought = tuple(_sought(given))
        self._hosts = Hosts(given.links.hosts) if given.links is not None else None
        self.schema = _schema(given, read)
        self.streams = given.answer_schema is None or given.answer_schema.streamed == "hold"
        """Whether streamed answers are given at all."""
        self.max_context = given.max_context
        self.tools = None if given.tools is None else frozenset(given.tools)
        self.looks = any("input" in one.on for one in self._sought)
        """Whether anything is looked for in what is asked."""
        self.shortest = min((one.detector.pattern.shortest for one in self._sought if "input" in one.on), default=0)
        """Characters that a text of a request must have for anything to be found in it."""
        self.listens = (
            self._hosts is not None
            or self.schema is not None
            or self.tools is not None
            or any("output" in one.on for one in self._sought)
        )
        """Whether anything is looked for in what is answered."""
        self.media = given.media == "pass" or not self.looks
        """Whether pictures, sounds and files may pass."""
        bound = (("system", self.system), ("template", self.template))
        self.versions: tuple[Verdict, ...] = tuple((name, one.version) for name, one in bound if one is not None)
        told = ", ".join(f"{name}={one.version};sha256={one.digest[:16]}" for name, one in bound if one is not None)
        self.head = f"x-penstock-guardrails: {told or 'on'}\r\n".encode()

    def asked(self, verdicts: Verdicts) -> Chain:
        """The steps for one text of a request."""
        return Chain(self._finders("input", verdicts))

    def answered(self, verdicts: Verdicts) -> Chain:
        """The steps for one text of an answer."""
        steps = self._finders("output", verdicts)
        if self._hosts is not None:
            steps.append(Links(self._hosts, verdicts))
        return Chain(steps)

    def spoken(self, verdicts: Verdicts) -> Chain:
        """The steps for the text that is the answer itself: it may have to fit a schema."""
        steps: list[Step] = [self.answered(verdicts)]
        if self.schema is not None:
            steps.append(Held(self.schema, verdicts))
        return Chain(steps)

    def called(self, verdicts: Verdicts) -> Chain:
        """The steps for what a tool is called with: addresses are what tools are given, so links are no business of theirs."""
        return Chain(self._finders("output", verdicts))

    def _finders(self, side: Side, verdicts: Verdicts) -> list[Step]:
        return [Finder(one.detector, verdicts, side, refuses=one.refuses) for one in self._sought if side in one.on]


def rules(aliases: Mapping[str, Guardrails], read: Read) -> dict[str, Rules]:
    """Those of every alias that has some; `ConfigError` names the one that cannot be used."""
    found: dict[str, Rules] = {}
    for name, given in aliases.items():
        try:
            found[name] = Rules(given, read)
        except ConfigError as error:
            msg = f"The guardrails of the alias {name!r}: {error.message}"
            raise ConfigError(msg, hint=error.hint) from None
    return found


def _sought(given: Guardrails) -> Iterator[Sought]:
    if given.redact is not None:
        refuses, on = given.redact.action == "refuse", frozenset(given.redact.on)
        for name, make in DETECTORS.items():
            if name in given.redact.find:
                yield Sought(make(), refuses, on)
        for name, text in given.redact.patterns.items():
            yield Sought(Detector(name, _pattern(name, text)), refuses, on)
    if given.topics is not None:
        for name, text in given.topics.patterns.items():
            yield Sought(Detector(f"topic {name}", _pattern(name, text)), refuses=True, on=frozenset(given.topics.on))


def _pattern(name: str, text: str) -> Pattern:
    try:
        return Pattern(text)
    except ValueError as error:
        raise ConfigError(f"the pattern {name!r}: {error}.") from None


def _contents(path: str, read: Read, what: str) -> bytes:
    try:
        data = read(path)
    except OSError as error:
        raise ConfigError(f"Reading the guardrails' {what} at {path}: {error.strerror}.") from None
    if len(data) > _LARGEST:
        raise ConfigError(f"Reading the guardrails' {what} at {path}: it has more than {_LARGEST} bytes.")
    return data


def _bound(given: Bound | None, read: Read, what: str) -> Text | None:
    if given is None:
        return None
    data = _contents(given.file, read, what)
    digest = hashlib.sha256(data).hexdigest()
    if given.sha256 and digest != given.sha256:
        msg = f"Reading the guardrails' {what} at {given.file}: it is not what version {given.version} is bound to; its SHA-256 is {digest}."
        raise ConfigError(msg, hint="Bring back the file, or give its text a version and a digest of its own.")
    try:
        return Text(data.decode().removesuffix("\n"), given.version, digest)
    except UnicodeDecodeError:
        raise ConfigError(f"Reading the guardrails' {what} at {given.file}: it is not UTF-8.") from None


def _schema(given: Guardrails, read: Read) -> Schema | None:
    if given.answer_schema is None:
        return None
    path = given.answer_schema.file
    try:
        return Schema(_contents(path, read, "answer_schema"))
    except ValueError as error:
        raise ConfigError(f"Reading the guardrails' answer_schema at {path}: {error}.") from None
