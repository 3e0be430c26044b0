"""What the verbs need of the running gateway's admin socket: one order or question, one answer.

The socket is the one that the configuration names; with several workers any of them will do, the first that listens.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import msgspec
import typer

from penstock.cli.config_file import config_file
from penstock.errors import BrokenAnswer, EngineFault, Refusal, Unreachable
from penstock.sources import load

WAIT: Final = 150.0
"""Seconds for an answer: a canary's engines are asked before it begins, and may have to load a model for that."""

AdminSocket: TypeAlias = Annotated[
    str, typer.Option("--admin", help="The gateway's admin socket; else the one that the configuration names.")
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="As JSON.")]
Told: TypeAlias = dict[str, object]


class OrderRefused(Refusal):
    """The gateway does not do what was ordered; nothing has changed."""

    status = 409
    code = "order_refused"


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("penstock", timeout=WAIT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(WAIT)
        self.sock.connect(self._path)


class Admin:
    """The running gateway, asked as its owner."""

    def __init__(self, config: Path | None, admin: str) -> None:
        if admin:
            self._paths = [admin]
        else:
            from penstock.gateway.peers import socket_path  # noqa: PLC0415 - the library of figures comes with it

            loaded = load(config_file(config), os.environ).config
            self._paths = [socket_path(loaded.admin, one) for one in range(loaded.workers)]

    def get(self, route: str) -> Told:
        """The answer to a question."""
        return self._asked("GET", route, None)

    def post(self, route: str, order: object) -> Told:
        """The answer to an order."""
        return self._asked("POST", route, msgspec.json.encode(order))

    def _asked(self, method: str, route: str, body: bytes | None) -> Told:
        status, told = self._answer(method, route, body)
        if status == 200:
            return told
        if "error" not in told:
            raise EngineFault(f"{method} {route} on {self._paths[0]}: {status}.", hint="Is it another version?")
        raise OrderRefused(str(told["error"]), hint=str(told.get("hint", "")))

    def _answer(self, method: str, route: str, body: bytes | None) -> tuple[int, Told]:
        connection = self._connected()
        try:
            connection.request(method, route, body, {"content-type": "application/json"} if body else {})
            answer = connection.getresponse()
            told = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as broken:
            raise BrokenAnswer(
                f"{method} {route} on {self._paths[0]}: {str(broken) or type(broken).__name__}.",
                hint="Look whether it was done: penstock canary status.",
            ) from None
        finally:
            connection.close()
        return answer.status, told if isinstance(told, dict) else {}

    def _connected(self) -> _Connection:
        why = ""
        for path in self._paths:
            connection = _Connection(path)
            try:
                connection.connect()
            except OSError as error:
                connection.close()
                why = why or (error.strerror or str(error)).lower()
            else:
                return connection
        raise Unreachable(
            f"Asking the gateway at its admin socket {self._paths[0]}: {why}.",
            hint="Is it running, and yours? --config names its configuration, --admin the socket itself.",
        )
