"""`penstock chat`: talk to a model in the terminal, over the OpenAI API, streamed.

Ctrl-C stops the answer and not the program: the connection is closed, so the engine stops as well.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from typing import Annotated, TypeAlias

import msgspec
import typer
from rich.text import Text

from penstock.cli.models import listed
from penstock.cli.screen import complain, err, out
from penstock.cli.talk import DEFAULT_URL, KEY_NAME, Gateway
from penstock.errors import BrokenAnswer, EngineFault, PenstockError
from penstock.protocols.sse import Splitter, payload

Messages: TypeAlias = list[dict[str, str]]

HELP = "/quit leaves, /clear forgets what was said, /model NAME asks another model, Ctrl-C stops an answer."


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None

    @property
    def thought(self) -> str | None:
        """What a model says to itself; engines disagree about the field's name."""
        return self.reasoning or self.reasoning_content


class _Choice(msgspec.Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)


class _Chunk(msgspec.Struct):
    """The few fields of a stream that a person reads."""

    choices: list[_Choice] = []
    error: object = None


def chat(
    model: Annotated[str, typer.Argument(help="The model; else the one that /health names.")] = "",
    *,
    url: Annotated[str, typer.Option(help="Where the gateway answers.")] = DEFAULT_URL,
) -> None:
    """Talk to a model in the terminal.

    /quit leaves, /clear forgets what was said, /model NAME asks another model. Ctrl-C stops an answer.
    """
    gateway = Gateway(url, os.environ.get(KEY_NAME, ""))
    talk = _Talk(gateway, model or _default_model(gateway))
    if sys.stdin.isatty():
        import readline  # noqa: F401, PLC0415 - gives input() its line editing, and only a terminal wants that

        out.print(Text(f"{talk.model} at {gateway.url}. {HELP}", "dim"))
    for line in _lines():
        if line in {"/quit", "/exit", "/bye"}:
            break
        if line.startswith("/"):
            talk.command(line)
        elif line:
            talk.say(line)
    if talk.failed and not sys.stdin.isatty():
        raise typer.Exit(1)


def _default_model(gateway: Gateway) -> str:
    answer = gateway.get("/health", silence=10)
    name = answer.data.get("model")
    if isinstance(name, str) and name:
        return name
    entries = listed(gateway)
    if not entries:
        raise EngineFault(f"Choosing a model: {gateway.url} serves none.", hint="See `penstock models`.")
    return str(entries[0]["id"])


def _lines() -> Iterator[str]:
    """What is typed, line by line, until the end of input."""
    prompt = "> " if sys.stdin.isatty() else ""
    while True:
        try:
            yield input(prompt).strip()
        except EOFError:
            return
        except KeyboardInterrupt:
            out.print(Text("\n/quit leaves.", "dim"))


class _Talk:
    """One conversation: the model asked, and what was said so far."""

    def __init__(self, gateway: Gateway, model: str) -> None:
        self.model = model
        self.failed = False
        """Whether a question got no whole answer."""
        self._gateway = gateway
        self._said: Messages = []

    def command(self, line: str) -> None:
        name, _, rest = line.partition(" ")
        if name == "/clear":
            self._said = []
        elif name == "/model" and rest.strip():
            self.model = rest.strip()
        else:
            err.print(Text(HELP, "dim"))

    def say(self, text: str) -> None:
        """Asks, prints the answer as it comes, and remembers both; a question without an answer is forgotten."""
        said: Messages = [*self._said, {"role": "user", "content": text}]
        pieces: list[str] = []
        shown = False
        try:
            # Closed at once and not when it is collected: an interrupted answer must stop its engine now.
            with closing(self._answer(said)) as answer:
                for delta in answer:
                    shown = True
                    if delta.thought:
                        err.print(Text(delta.thought, "dim italic"), end="")
                    if delta.content:
                        pieces.append(delta.content)
                        out.file.write(delta.content)
                        out.file.flush()
        except KeyboardInterrupt:
            err.print(Text(" (stopped)", "dim"), end="")
        except PenstockError as error:
            out.file.write("\n" if shown else "")
            complain(error)
            self.failed = True
            return
        out.file.write("\n")
        out.file.flush()
        if pieces:
            self._said = [*said, {"role": "assistant", "content": "".join(pieces)}]

    def _answer(self, said: Messages) -> Generator[_Delta, None, None]:
        """Pieces of the answer; until the first one comes, a terminal shows that something is going on."""
        body = {"model": self.model, "messages": said, "stream": True}
        splitter = Splitter()
        complete = False
        with ExitStack() as waiting:
            if err.is_terminal:
                waiting.enter_context(err.status(""))
            with self._gateway.stream("/v1/chat/completions", body) as pieces:
                # To the very end, past [DONE]: a client that leaves before it counts as one that gave up.
                for event in (event for piece in pieces for event in splitter.feed(piece)):
                    data = payload(event)
                    complete = complete or data == b"[DONE]"
                    for delta in _deltas(data) if data and not complete else ():
                        waiting.close()
                        yield delta
        if not complete:
            raise BrokenAnswer("Reading the answer: the stream ended before it was complete.", hint="Ask again.")


def _deltas(data: bytes) -> Iterator[_Delta]:
    try:
        chunk = msgspec.json.decode(data, type=_Chunk)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BrokenAnswer(f"Reading the answer: {data[:200]!r} is no event of a chat.", hint="Ask again.") from None
    if chunk.error:
        said = chunk.error.get("message") if isinstance(chunk.error, dict) else chunk.error
        raise EngineFault(f"Reading the answer: {said}", hint="Ask again, or see the gateway's log.")
    for choice in chunk.choices:
        if choice.delta.content or choice.delta.thought:
            yield choice.delta
