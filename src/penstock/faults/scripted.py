"""A server that plays scripts: a socket, a journal, and which script is whose. What it speaks is its subclass' affair."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from types import TracebackType
from typing import Self

from penstock.faults.play import play, refuse
from penstock.faults.record import Journal, Received
from penstock.faults.refused import Refused
from penstock.faults.reply import Reply
from penstock.faults.script import Script, parse
from penstock.faults.wire import Exchange, Server


class Scripted(Journal):
    """Answers each request that asks a model as the script for it says; anything else is `tell`."""

    def __init__(self, script: Script, port: int) -> None:
        super().__init__()
        self.script = script
        """How requests without a script of their own are answered."""
        self.next: deque[Script] = deque()
        """Scripts for the next requests, one each, before `script` applies again."""
        self.port = port
        self.host = "127.0.0.1"
        """Where `start` listens: any loopback address."""
        self._server = Server(self._answer, self._left)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def accepted(self) -> int:
        """How many connections were ever accepted."""
        return self._server.accepted

    async def start(self) -> None:
        self.port = await self._server.start(self.host, self.port)

    async def stop(self) -> None:
        """As if killed: connections are reset, the port is free; `start` brings it back on the same port."""
        await self._server.stop()

    def close_idle(self) -> int:
        """Close the connections that wait for a next request, as vLLM does after 5 s; how many there were."""
        return self._server.close_idle()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @abstractmethod
    def asks_model(self, request: Received) -> bool:
        """Whether a script applies to it, and the journal counts it."""

    @abstractmethod
    async def tell(self, exchange: Exchange) -> None:
        """Answer a request that asks no model."""

    @abstractmethod
    def reply(self, request: Received, script: Script) -> Reply:
        """The answer of this protocol; raises `Refused`."""

    def refusal(self, refused: Refused, path: str) -> bytes:
        """The body that says no."""
        return refused.body(path)

    def _left(self, exchange: Exchange) -> None:
        if self.asks_model(exchange.request):
            self.left(exchange.request, exchange.tokens)

    async def _answer(self, exchange: Exchange) -> None:
        request = exchange.request
        if not self.asks_model(request):
            self.probed(request)
            await self.tell(exchange)
            return
        self.asked(request)
        complete = False
        try:
            complete = await self._ask(exchange)
        finally:
            self.ended(complete=complete)

    async def _ask(self, exchange: Exchange) -> bool:
        request = exchange.request
        own = request.header("x-script")
        script = parse(own) if own is not None else self.next.popleft() if self.next else self.script
        try:
            reply = self.reply(request, script)
        except Refused as refused:
            await refuse(exchange, script, self.refusal(refused, request.path), refused.status)
            return False
        return await play(exchange, script, reply, self)
