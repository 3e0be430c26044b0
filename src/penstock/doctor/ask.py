"""One HTTP request to the server under examination: bounded in time and size, nothing followed, nothing kept.

Standard library only. Every wait has the smaller of its own limit and what is left of the whole examination.
"""

from __future__ import annotations

import http.client
import ssl
import time
from typing import Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

import msgspec

EACH: Final = 3.0
"""Seconds for one question, connecting included."""
LARGEST: Final = 2**20
"""Bytes of an answer that are read."""
SHOWN: Final = 160


class Silent(Exception):
    """No answer; the message says why, in words that fit after a colon."""


class Deadline:
    """The end of an examination."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def within(self, limit: float = EACH) -> float:
        """Seconds that a wait may last; `Silent` once the time is up."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise Silent(f"the {self.seconds:g} s of this examination are up")
        return min(limit, left)


class Answer(NamedTuple):
    """A whole answer and when it was got, on the clock that people read."""

    status: int
    headers: dict[str, str]
    body: bytes
    asked_at: float
    answered_at: float

    @property
    def data(self) -> dict[str, object]:
        """The JSON object of the body; empty where it is none."""
        try:
            value = msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}

    @property
    def told(self) -> str:
        """Status and the beginning of the body, for evidence."""
        text = " ".join(self.body[: 4 * SHOWN].decode("utf-8", "replace").split())
        short = text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
        return f"{self.status} {short}".strip()


class Line:
    """The way to one server: scheme, host and port."""

    def __init__(self, url: str, deadline: Deadline) -> None:
        self.parts: SplitResult = urlsplit(url)
        self.deadline = deadline

    @property
    def root(self) -> str:
        return f"{self.parts.scheme}://{self.parts.netloc}"

    def ask(self, method: str, path: str, *, key: str = "", body: object = None, limit: float = EACH) -> Answer:
        """The answer, whatever its status; `Silent` where there is none."""
        connection = self.connect(self.deadline.within(limit))
        try:
            return talk(connection, method, path, key=key, body=body)
        except (OSError, http.client.HTTPException) as broken:
            raise Silent(_reason(broken)) from None
        finally:
            connection.close()

    def connect(self, timeout: float) -> http.client.HTTPConnection:
        """A connection that opens with its first request."""
        host, port = self.parts.hostname or "", self.parts.port
        if self.parts.scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=timeout)
        return http.client.HTTPConnection(host, port, timeout=timeout)


def talk(
    connection: http.client.HTTPConnection, method: str, path: str, *, key: str = "", body: object = None
) -> Answer:
    """One request and its answer on a connection that stays open if the server lets it."""
    headers = {"accept": "application/json", "user-agent": "penstock-doctor"}
    if key:
        headers["authorization"] = f"Bearer {key}"
    raw = None
    if body is not None:
        raw = msgspec.json.encode(body)
        headers["content-type"] = "application/json"
    asked_at = time.time()
    connection.request(method, path, body=raw, headers=headers)
    answer = connection.getresponse()
    content = answer.read(LARGEST)
    found = {name.lower(): value for name, value in answer.getheaders()}
    return Answer(answer.status, found, content, asked_at, time.time())


def _reason(broken: Exception) -> str:
    if isinstance(broken, TimeoutError):
        return "no answer in time"
    if isinstance(broken, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {broken.verify_message}"
    if isinstance(broken, ConnectionRefusedError):
        return "connection refused"
    if isinstance(broken, http.client.HTTPException):
        return f"what it says is no HTTP ({type(broken).__name__})"
    return (broken.strerror if isinstance(broken, OSError) else "") or str(broken) or type(broken).__name__
