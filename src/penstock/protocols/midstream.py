"""A stream that can be gone on with when its engine dies: what it remembers, and how what another engine says is joined to it.

Stands between an engine's events and the reader of the client's protocol, which is told one answer and never learns that
there were two engines: ids, `created` and model of the first, one role, one finish, usage of the whole. What the rest is
asked with is remainder.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.errors import BrokenAnswer, Diverged, EngineFault, PenstockError
from penstock.protocols import answer_event, remainder, splice
from penstock.protocols.answer_event import Choice, Counts, Event, Head
from penstock.protocols.boundaries import Boundaries, Place
from penstock.protocols.delivered import CONTENT, Delivered
from penstock.protocols.dialect import Call, Clock, Destination, Outgoing, Pairing, Reader, Timing
from penstock.protocols.ollama_types import said
from penstock.protocols.remainder import How
from penstock.protocols.sse import Splitter, payload
from penstock.types import Kind, Usage, Wire

PATHS = frozenset({"/v1/chat/completions", "/v1/completions", "/api/chat", "/api/generate"})
"""Routes whose streams can be gone on with."""
_GIVEN_UP = frozenset({"abort", "error"})
"""vLLM's words for an answer that it gave up in the middle."""
_SEVERAL = "several answers at once cannot be gone on with"
_DONE = b"data: [DONE]\n\n"


def resumable(path: str, wire: Wire, pairing: Pairing, policy: str) -> Pairing:
    """The pairing of an alias with a `midstream` policy; the same where its streams cannot be gone on with."""
    return Resumable(pairing, policy) if path in PATHS and wire is Wire.OPENAI else pairing


class Resumable:
    """A pairing whose streams remember what went through them."""

    def __init__(self, inner: Pairing, policy: str) -> None:
        self._inner = inner
        self.policy = policy

    def plain(self, call: Call, to: Destination) -> Outgoing:
        """The request as it would be without us."""
        return self._inner.request(call, to)

    def request(self, call: Call, to: Destination) -> Outgoing:
        """The same, and for vLLM the wish to be told token ids: they are what can be gone on from, and counted."""
        asked = self._inner.request(call, to)
        if not call.stream or to.kind is not Kind.VLLM:
            return asked
        return msgspec.structs.replace(asked, body=splice.replace(asked.body, {"return_token_ids": b"true"}))

    def reader(self, call: Call, to: Destination, timing: Timing, clock: Clock) -> Reader:
        """A reader that remembers; whole answers need none."""
        inner = self._inner.reader(call, to, timing, clock)
        if not call.stream:
            return inner
        return Joined(inner, self, call, to)


class Joined:
    """One answer, of as many engines as it takes."""

    def __init__(self, inner: Reader, pairing: Resumable, call: Call, to: Destination) -> None:
        self._inner = inner
        self._pairing = pairing
        self._call = call
        """With its body, which the line itself forgets once an answer has begun."""
        self._fields = remainder.fields(pairing.plain(call, to).body)
        self._window = to.window
        self._shows_ids = bytes(self._fields.get("return_token_ids", b"")) == b"true"
        self._splitter = Splitter()
        self._head: Head | None = None
        self._how: How | None = None
        self._delivered = Delivered()
        self._places = Boundaries(remainder.stops(self._fields))
        self._units = self._sent_units = 0
        """Tokens told one by one, with log probabilities or ids: by the engine now speaking, and to the client."""
        self._base = 0
        """Tokens of the answer that the engine now speaking was given."""
        self._finish = ""
        self._counted = False
        self._lost = _SEVERAL if remainder.several(self._fields) else ""
        """Why it can no longer be gone on with."""
        self._unread = ""
        self._passing: Sequence[Choice] = ()

    # ── Reader ───────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def content_type(self) -> str:
        """The client's."""
        return self._inner.content_type

    @content_type.setter
    def content_type(self, value: str) -> None:
        self._inner.content_type = value

    @property
    def usage(self) -> Usage | None:
        """Of the whole answer."""
        return self._inner.usage

    @property
    def model(self) -> str | None:
        """Of the first engine."""
        return self._inner.model

    @property
    def content(self) -> bool:
        """Something of the answer has been seen."""
        return self._inner.content

    @property
    def finished(self) -> bool:
        """The answer is complete."""
        return self._inner.finished

    @property
    def finish_reason(self) -> str | None:
        """Why it ended."""
        return self._inner.finish_reason

    def feed(self, data: bytes) -> bytes:
        """Whole events for the client; a fault keeps what came before it."""
        parts: list[bytes] = []
        try:
            for event in self._splitter.feed(data):
                parts.append(self._feed_one(event))  # noqa: PERF401 - a comprehension would lose the parts when one raises
        except EngineFault as fault:
            fault.before = b"".join(parts) + fault.before
            raise
        return b"".join(parts)

    def close(self) -> bytes:
        """The engine ended its body; an answer that finished without its usage gets it from what was counted."""
        last = b"".join(map(self._feed_one, self._splitter.last()))
        counted = self._inner.feed(self._usage_event()) if self._inner.finished and self._owes_usage() else b""
        return last + counted + self._inner.close()

    def _feed_one(self, event: bytes) -> bytes:
        self._unread, self._passing = "", []
        clean = self._take(event)
        told = self._inner.feed(clean) if clean else b""
        # Only now: the reader of the client's protocol may have refused it, and then the client does not have it.
        for choice in self._passing:
            self._hear(choice)
        # Whatever the reader of the client's protocol took as well is a part of the answer, and not remembered.
        self._lost = self._lost or self._unread
        return told

    def fault(self, error: PenstockError) -> bytes:
        """An explicit error."""
        return self._inner.fault(error)

    @property
    def gone_on(self) -> str:
        """How another engine was asked for the rest; empty where none was."""
        return self._how.value if self._how is not None else ""

    # ── going on ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def ending(self) -> bytes | None:
        """The last bytes, where nothing is left to be asked: the engine died after it had finished, or at the limit."""
        if not self._finish:
            if self._lost or self._left() != 0 or self._head is None or not self._all_sent():
                return None
            self._finish = "length"
            last = answer_event.written(self._head, Choice(finish_reason="length"), (), ids=self._shows_ids)
            before = self._inner.feed(last)
        else:
            before = b""
        counted = self._inner.feed(self._usage_event()) if self._owes_usage() else b""
        return before + counted + self._inner.feed(_DONE) + self._inner.close()

    def how(self, to: Destination, *, refuses: bool) -> How | str:
        """The way to ask this backend for the rest, or why there is none; `refuses`: it takes no begun answers."""
        if self._lost or not self._delivered.whole:
            return self._lost or "more was sent than is remembered"
        if self._pairing.policy == "restart":
            return How.REPLAY
        if to.kind is not Kind.VLLM:
            return f"{to.kind.label} is not asked to go on with an answer"
        why = self._no_tokens(to) or ("it refuses to go on with an answer" if refuses else "")
        if not why:
            return How.TOKENS
        if remainder.repeatable(self._fields):
            return How.REPLAY
        return How.PREFILL if not refuses and self._can_prefill() else why

    def rest(self, how: How, to: Destination) -> Outgoing:
        """The request for the rest; from here on `feed` takes what this backend answers."""
        asked = self._pairing.request(self._call, to)
        self._how = how
        self._splitter = Splitter()
        self._counted = False
        place = self._places.last(self._delivered.size) if how is How.TOKENS else None
        if place is not None:
            answer = self._places.until(place)
            body = remainder.by_tokens(remainder.fields(asked.body), self._places.prompt, answer, self._room(place))
            asked = msgspec.structs.replace(asked, path="/v1/completions", body=body)
        elif how is How.PREFILL:
            body = remainder.by_prefill(remainder.fields(asked.body), self._delivered.text)
            asked = msgspec.structs.replace(asked, body=body)
        self._base = place.tokens if place is not None else 0
        self._units = self._base
        self._places.rewind(place)
        self._delivered.rewind(self._start(how, place))
        return asked

    def _start(self, how: How, place: Place | None) -> int:
        if place is not None:
            return place.characters
        return self._delivered.size if how is How.PREFILL else 0

    def _no_tokens(self, to: Destination) -> str:
        """Why the tokens cannot be asked for."""
        named = remainder.obstacle(self._fields)
        if named:
            return f"an answer with `{named}` cannot be gone on with in its middle"
        others = self._delivered.kinds - {CONTENT}
        if others:
            return f"an answer with {min(others).split(' ')[0]} cannot be gone on with in its middle"
        place = self._places.last(self._delivered.size)
        if place is None:
            return "the engine told no token ids" if not self._places.known else "no place in it is certain"
        return self._no_room(to, place)

    def _no_room(self, to: Destination, place: Place) -> str:
        if self._left() is None:
            return "its context length is not known"
        ends = (self._places.prompt_tokens or 0) + place.tokens + self._room(place)
        return "its context is too short" if to.window is not None and ends > to.window else ""

    def _can_prefill(self) -> bool:
        """Only where nothing has to be counted, and the text is not one that a chat template would trim."""
        text = self._delivered.text
        limits = {"max_tokens", "max_completion_tokens", "min_tokens"} & {
            name for name, raw in self._fields.items() if said(raw)
        }
        return (
            "messages" in self._fields
            and not self._places.known
            and not limits
            and not remainder.obstacle(self._fields)
            and self._delivered.kinds == {CONTENT}
            and text == text.strip()
        )

    def _total(self) -> int | None:
        """Tokens the whole answer may have."""
        asked = remainder.limit(self._fields)
        prompt = self._places.prompt_tokens
        room = self._window - prompt if self._window is not None and prompt is not None else None
        return min((one for one in (asked, room) if one is not None), default=None)

    def _room(self, place: Place) -> int:
        return (self._total() or 0) - place.tokens

    def _left(self) -> int | None:
        """Tokens it may still have; None where that is not known."""
        total = self._total()
        return None if total is None or not self._places.known else total - self._places.count

    def _all_sent(self) -> bool:
        place = self._places.last(self._delivered.size)
        return place is not None and place.tokens == self._places.count

    def _owes_usage(self) -> bool:
        return not self._counted and self._head is not None and self._places.known and bool(self._places.prompt)

    def _usage_event(self) -> bytes:
        if self._head is None:
            return b""
        self._counted = True
        prompt, answer = self._places.prompt_tokens or 0, self._places.count
        return answer_event.written_usage(self._head, Counts(prompt, prompt + answer, answer))

    # ── events ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _take(self, event: bytes) -> bytes:
        """What goes on of one event; one that cannot be read goes on as it is, to whoever says so."""
        data = payload(event)
        if data is None:
            return event if self._how is None else b""
        if data == b"[DONE]":
            return self._end(event)
        found = self._read(data)
        if found is None:
            return event
        self._note(found)
        return self._passed(found, event) if self._how is None else self._rejoined(found)

    def _read(self, data: bytes) -> Event | None:
        """None for what is no part of an answer."""
        try:
            found = answer_event.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._unread = "an event of it could not be read"
            return None
        return None if said(found.error) else found

    def _passed(self, found: Event, event: bytes) -> bytes:
        """An event of the first engine, as it is but for the ids that only we asked for."""
        self._passing = found.choices
        if self._shows_ids or b"token_ids" not in event:
            return event
        return b"" if answer_event.only_ids(found) else answer_event.without_ids(event)

    def _end(self, event: bytes) -> bytes:
        return self._usage_event() + event if self._how is not None and self._finish and self._owes_usage() else event

    def _note(self, found: Event) -> None:
        """What stands beside the text."""
        if self._head is None and found.id:
            self._head = Head(found.id, found.object, found.created, found.model)
        if len(found.choices) > 1 or any(choice.index for choice in found.choices):
            self._lost = _SEVERAL
        for choice in found.choices:
            if choice.finish_reason in _GIVEN_UP:
                msg = f"The engine gave the answer up in the middle (finish_reason {choice.finish_reason!r})."
                raise BrokenAnswer(msg)
        ids = next(
            (one.prompt_token_ids for one in found.choices if said(one.prompt_token_ids)), found.prompt_token_ids
        )
        if said(ids) and self._how is not How.TOKENS:
            self._places.begin(bytes(ids))
        self._counted = self._counted or (found.usage is not None and not found.choices)

    def _hear(self, choice: Choice) -> list[tuple[str, str]]:
        """Remember what a choice says; what of it is new to the client."""
        pieces = list(choice.pieces())
        news = [(kind, new) for kind, text in pieces if (new := self._delivered.take(kind, text))]
        spoke = any(kind == CONTENT for kind, _ in pieces)
        heard, delivered = self._delivered.heard, self._delivered.size
        self._places.add(choice.token_ids, heard, spoke=bool(pieces) and spoke, delivered=delivered)
        if choice.finish_reason is not None:
            if not self._delivered.caught_up:
                raise Diverged("It ended before all that had been sent.")
            self._finish = choice.finish_reason
        if self._how is None:
            self._sent_units += self._unit(choice)
        return news

    def _rejoined(self, found: Event) -> bytes:
        """An event of another engine as the first would have sent it; nothing where the client has it already."""
        if self._head is None:
            return b""
        if self._lost:
            raise Diverged("It gave several answers where one had been begun.")
        usage = self._sum(found.usage)
        if not found.choices:
            return answer_event.written_usage(self._head, usage) if usage is not None else b""
        choice = found.choices[0]
        news = self._hear(choice)
        fresh = self._fresh(choice, news)
        if not fresh and choice.finish_reason is None:
            return b""
        return answer_event.written(self._head, choice, news, ids=self._shows_ids, usage=usage)

    def _unit(self, choice: Choice) -> int:
        return len(choice.token_ids or ()) if self._shows_ids else choice.entries()

    def _fresh(self, choice: Choice, news: list[tuple[str, str]]) -> bool:
        """Whether an event brings something new; one that tells tokens one by one is new as a whole or not at all."""
        units = self._unit(choice)
        if not units:
            return bool(news)
        before, self._units = self._units, self._units + units
        if self._units <= self._sent_units and not news:
            return False
        if before < self._sent_units or news != list(choice.pieces()):
            raise Diverged("Its tokens come in other pieces than those that had been sent before.")
        self._sent_units = self._units
        return True

    def _sum(self, counts: Counts | None) -> Counts | None:
        """Usage of the whole, from that of its rest."""
        if counts is None or self._how is not How.TOKENS:
            return counts
        prompt = self._places.prompt_tokens or 0
        answer = self._base + counts.completion_tokens
        return Counts(prompt, prompt + answer, answer)
