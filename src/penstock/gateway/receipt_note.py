"""What is noted of one request on its way: stands between the request and its client, sees what the client is sent.

The last piece is held until the `close` line is written, so that whoever has a whole answer finds in its receipt that it was
answered; with `durability: fsync`, until that line is on the disk.
"""

from __future__ import annotations

import time
from hashlib import sha256
from typing import TYPE_CHECKING

from penstock.errors import Unrecorded
from penstock.receipts.spool import Closed, Opened, encode

if TYPE_CHECKING:
    from hashlib import _Hash

    from penstock.gateway.client import Client, Headers
    from penstock.gateway.receipt_spool import File
    from penstock.gateway.receipts import Receipts
    from penstock.gateway.request import Request
    from penstock.gateway.ways import Way

AT_ONCE = 64 * 1024
"""Bytes that are digested on the loop: about 40 µs."""
TOOL, FUNCTION = b'"tool_', b'"function_call"'
"""In every answer that calls a tool: `"tool_calls"` or `"tool_use"`, or the old name of the former."""
TOOL_BYTES = 1 << 20
"""Of an answer in which tool calls are looked for."""
MESSAGE = 500


class Note:
    """One request that gets a receipt."""

    __slots__ = ("_client", "_digest", "_file", "_fold_at", "_last", "_number", "_pieces", "_receipts", "_size", "_whole", "id", "prompt", "request", "time")  # fmt: skip

    def __init__(self, receipts: Receipts, client: Client, request: Request) -> None:
        self._receipts = receipts
        self._client: Client | None = client
        self.id = request.id
        self.time = time.time_ns() // 1000 - (time.monotonic_ns() - request.timing.arrived) // 1000
        self.request: bytes | None = None
        """Its body, while that is still needed."""
        self.prompt: str | None = None
        """SHA-256 of its body."""
        self._file: File | None = None
        self._number = 0
        self._pieces: list[bytes] = []
        self._size = 0
        """Bytes in `_pieces`."""
        self._fold_at = receipts.fold_at
        self._digest: _Hash | None = None
        """Of what came before `_pieces`, where that was forgotten."""
        self._last: tuple[int, Headers, bytes] | bytes | None = None

    # ── the client of the request ────────────────────────────────────────────────────────────────────────────────────

    def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """A whole answer; sent when its receipt is written."""
        headers.append(b"x-penstock-receipt: " + self.id + b"\r\n")
        self._pieces = [body]
        self._size = len(body)
        self._last = (status, headers, body)

    def begin(self, status: int, headers: Headers) -> None:
        """The head of a stream."""
        headers.append(b"x-penstock-receipt: " + self.id + b"\r\n")
        if self._client is not None:
            self._client.begin(status, headers)

    def write(self, data: bytes) -> None:
        """A piece of it."""
        if self._client is not None:
            self._client.write(data)
        self._pieces.append(data)
        self._size += len(data)
        if self._size > self._fold_at:
            self._fold()

    def end(self, data: bytes) -> None:
        """The last piece; sent when the receipt is written."""
        self._pieces.append(data)
        self._size += len(data)
        self._last = data

    def _fold(self) -> None:
        """Digest what has come, and forget it unless something in it is still wanted."""
        text = b"".join(self._pieces)
        if self._digest is None and self._size <= TOOL_BYTES and (TOOL in text or FUNCTION in text):
            self._pieces, self._fold_at = [text], 2 * self._size
            return
        if self._digest is None:
            self._digest = sha256()
        self._digest.update(text)
        self._pieces, self._size, self._fold_at = [], 0, AT_ONCE

    # ── the two lines ────────────────────────────────────────────────────────────────────────────────────────────────

    def opened(self, request: Request, way: Way) -> None:
        """It is about to go to an engine. Raises `Unrecorded` where it must not without a line that says so."""
        if self._file is not None:
            return
        body = request.call.body
        if len(body) <= AT_ONCE:
            self.prompt = sha256(body).hexdigest()
        if self.prompt is None or self._receipts.keeps:
            self.request = body
        spool, caller = self._receipts.spool, request.caller
        file = self._file = spool.file
        file.open += 1
        self._number = file.next()
        line = Opened(
            self._number, self.id.decode(), self.time, caller.tenant, caller.key_id, caller.name, request.alias_name, request.route.path,
            request.call.stream, way.rank, way.backend.name, way.model, digest_of(way), self.prompt,
        )  # fmt: skip
        if not spool.put(file, encode(line) + b"\n") and self._receipts.strict:
            raise Unrecorded("Writing a receipt: it cannot be written now.", retry_after=1)

    def closed(self, request: Request, status: int, outcome: str, error: str) -> None:
        """It is over: say how, then send the last piece."""
        file = self._file
        if file is None:
            # No engine was asked; what is known of the body is that it was read, if it was.
            file = self._file = self._receipts.spool.file
            file.open += 1
            self._number = file.next()
            self._take(request.call.body)
        line = self._line(request, status, outcome, error)
        pieces, self._pieces = self._pieces, []
        answer = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if self.request is not None or len(answer) > AT_ONCE or TOOL in answer or FUNCTION in answer:
            self._receipts.finish(self, line, answer, self._digest)
            return
        if answer or self._digest is not None:
            digest = self._digest or sha256()
            digest.update(answer)
            line.answer = digest.hexdigest()
        self.write_line(line)

    def _take(self, body: bytes) -> None:
        if not body:
            return
        if len(body) <= AT_ONCE:
            self.prompt = sha256(body).hexdigest()
        if self.prompt is None or self._receipts.keeps:
            self.request = body

    def _line(self, request: Request, status: int, outcome: str, error: str) -> Closed:
        timing, caller = request.timing, request.caller
        arrived = timing.arrived
        # By position: naming twenty fields costs more than everything else here.
        line = Closed(
            self._number, self.id.decode(), self.time, caller.tenant, caller.key_id, caller.name, request.alias_name, request.route.path,
            request.call.stream, status, outcome,
        )  # fmt: skip
        line.prompt = self.prompt
        line.total = (time.monotonic_ns() - arrived) // 1000
        attempt = request.attempt
        if attempt is not None:
            way, reader = attempt.way, attempt.reader
            line.target, line.backend, line.model, line.digest = way.rank, way.backend.name, way.model, digest_of(way)
            line.attempts = request.attempts
            if reader is not None:
                line.finish = reader.finish_reason or ""
                if reader.usage is not None:
                    line.usage = (reader.usage.prompt_tokens, reader.usage.completion_tokens)
        if timing.sent:
            line.sent = (timing.sent - arrived) // 1000
        if timing.first:
            line.first = (timing.first - arrived) // 1000
        if error:
            line.error = error[:MESSAGE]
        if request.queued:
            line.queued = int(request.queued * 1e6)
        if request.failures:
            line.fallback = tuple((name, fault.reason) for name, fault in request.failures)
        if request.verdicts:
            line.verdicts = tuple(request.verdicts)
        return line

    def write_line(self, line: Closed) -> None:
        """The `close` line, and what it holds up."""
        receipts, file = self._receipts, self._file
        if file is None:
            return
        receipts.spool.put(file, encode(line) + b"\n")
        file.open -= 1
        if self._last is not None and line.alias in receipts.durable:
            receipts.when_durable(self.release)
        else:
            self.release()

    def release(self) -> None:
        """The last piece may go to the client."""
        last, self._last = self._last, None
        client, self._client = self._client, None
        if client is None or last is None:
            return
        if isinstance(last, tuple):
            client.answer(*last)
        else:
            client.end(last)


def digest_of(way: Way) -> str | None:
    """The model's digest, where its engine tells one."""
    model = way.backend.sighting.models.get(way.model)
    return f"sha256:{model.digest.removeprefix('sha256:')}" if model is not None and model.digest else None
