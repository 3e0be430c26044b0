"""A request of an alias with guardrails: its body is held to them before anybody is asked, its answer as it passes.

Stands where the client stands, so that whoever answers, and however often an answer changes hands on its way, what goes out
went through here. Other aliases never come here: one attribute of their ways says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from penstock.errors import BrokenAnswer, PenstockError, Refusal, Withheld
from penstock.guardrails import asked
from penstock.guardrails.rules import Rules, rules
from penstock.guardrails.said import Said
from penstock.guardrails.table import ANSWERS
from penstock.guardrails.text import Verdicts
from penstock.protocols import refusal

if TYPE_CHECKING:
    from penstock.config import Config
    from penstock.gateway.client import Client, Headers
    from penstock.gateway.request import Request
    from penstock.guardrails.answers import Answer

log = structlog.stdlib.get_logger("penstock.guardrails")

ERRORS = 400


def prepared(config: Config) -> dict[str, Rules]:
    """The rules of all aliases that have some; `ConfigError` where they cannot be kept. Reads files."""
    given = {name: alias.guardrails for name, alias in config.aliases.items() if alias.guardrails is not None}
    return rules(given, lambda path: Path(path).read_bytes())


def enter(request: Request, kept: Rules) -> None:
    """Hold a request to the rules; `Refusal` where they do not let it pass."""
    verdicts = Verdicts(kept.versions)
    try:
        request.call = asked.held(kept, request.call, verdicts)
    except Refusal:
        request.verdicts = verdicts.all()
        _count(request)
        raise
    request.verdicts = verdicts.all()
    if request.client is not None:
        request.client = Guarded(request, request.client, kept, verdicts)


class Guarded:
    """The client of such a request."""

    __slots__ = ("_answer", "_client", "_kept", "_over", "_request", "_verdicts")

    def __init__(self, request: Request, client: Client, kept: Rules, verdicts: Verdicts) -> None:
        self._request = request
        self._client = client
        self._kept = kept
        self._verdicts = verdicts
        make = ANSWERS.get(request.call.path) if kept.listens and not request.call.idle else None
        self._answer: Answer | None = make(Said(kept, verdicts)) if make is not None else None
        self._over = False

    def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """A whole answer; errors pass."""
        if self._over or status >= ERRORS:
            self._told()
            self._client.answer(status, headers, body)
            return
        if self._answer is not None:
            try:
                body = self._answer.whole(body)
            except (Withheld, BrokenAnswer) as error:
                self._over = True
                self._request.verdicts = self._verdicts.all()
                self._request.shed(error)
                return
        self._told()
        self._client.answer(status, [*headers, self._kept.head], body)

    def begin(self, status: int, headers: Headers) -> None:
        """The head of a stream."""
        self._client.begin(status, [*headers, self._kept.head])

    def write(self, data: bytes) -> None:
        """A piece of it."""
        piece = self._passed(data)
        if piece:
            self._request.verdicts = self._verdicts.all()
            self._client.write(piece)

    def end(self, data: bytes) -> None:
        """The last piece."""
        piece = self._passed(data)
        if piece is not None:
            self._over = True
            self._told()
            self._client.end(piece)

    def _passed(self, data: bytes) -> bytes | None:
        """What goes on of it; None where nothing may any more."""
        if self._over:
            return None
        if self._answer is None or not data:
            return data
        try:
            return self._answer.piece(data)
        except (Withheld, BrokenAnswer) as error:
            self._stop(self._answer.given, error)
            return None

    def _stop(self, before: bytes, error: PenstockError) -> None:
        """A begun stream ends here, in an explicit error; the engine need not go on."""
        self._over = True
        self._told()
        request = self._request
        self._client.end(before + refusal.stream_error(request.call.face, error))
        log.info("an answer was withheld", request=request.id.decode(), alias=request.alias_name, why=error.message)
        request.close(200, outcome="withheld", error=error.message)

    def _told(self) -> None:
        self._request.verdicts = self._verdicts.all()
        _count(self._request)


def _count(request: Request) -> None:
    for step, verdict in request.verdicts:
        word, _, times = verdict.partition(" ")
        if step not in {"system", "template"}:
            request.line.metrics.count("penstock_guardrails", request.alias_name, step, word, by=float(times or 1))
