"""The gateway of a soak: how it is configured and reloaded, and what is read of its process from outside."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import signal
import socket
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from bench import measure
from bench.processes import KEY
from bench.soak.clients import MODEL
from penstock.faults.gateways import Config, Penstock
from penstock.faults.memory import held

STEADY = "mock"
"""The alias of the steady traffic, and the model that the engine of the benchmark serves."""
KEYS = ("soak-key-of-one-tenant", "soak-key-of-another")
ASKING_SECONDS = 5.0


def configuration(engines: tuple[str, ...], steady: str, port: int, folder: Path, *, odd: bool) -> Config:
    """What every other reload changes: one engine fewer, and another limit."""
    urls = engines[:-1] if odd else engines
    backends = {f"e{number}": {"kind": "vllm", "url": url} for number, url in enumerate(urls)}
    callers = {
        f"caller-{number}": {"tenant": f"tenant-{number}", "key_sha256": hashlib.sha256(key.encode()).hexdigest()}
        for number, key in enumerate((*KEYS, KEY))
    }
    return {
        "listen": [f"127.0.0.1:{port}"],
        "backends": {**backends, "steady": {"kind": "vllm", "url": steady, "slots": 1000}},
        "aliases": {
            MODEL: {"targets": [{"backends": list(backends), "model": MODEL}]},
            # What a busy machine does to these is not what the soak is about.
            STEADY: {"targets": [{"backends": ["steady"], "model": STEADY}], "first_token": "30s", "total": "60s"},
        },
        "callers": callers,
        "limits": {
            "connect": "500ms",
            "first_token": "1s",
            "between_tokens": "1s",
            "total": "8s",
            "queue_wait": "2s",
            "queue": 250 if odd else 200,
            "drain": "5s",
        },
        "state": f"sqlite:///{folder / 'state.db'}",
        "admin": str(folder / "admin.sock"),
        "log": {"format": "json"},
    }


@dataclass(frozen=True)
class Sample:
    """The gateway at one moment."""

    at: float
    """Seconds since the load began."""
    resident: int
    own: int
    """Bytes of its memory that no file stands behind."""
    descriptors: int
    tasks: int
    active: int
    share: float
    """Of one core, since the sample before."""
    streams: int
    """Steady ones that were open."""


def descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def memory(pid: int) -> tuple[int, int]:
    """Resident bytes, and those that are its own: how much of the libraries counts changes with who else uses them."""
    return measure.memory((pid,)).resident, held(pid)


async def status(gateway: Penstock) -> dict[str, int]:
    """What the gateway says of itself on its admin socket."""
    return await asyncio.to_thread(_status, gateway.admin)


def _status(path: str) -> dict[str, int]:
    connection = http.client.HTTPConnection("gateway", timeout=ASKING_SECONDS)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(ASKING_SECONDS)
    try:
        connection.sock.connect(path)
        connection.request("GET", "/status", headers={"connection": "close"})
        page = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return {"tasks": int(page["tasks"]), "active": int(page["active_requests"])}


def reload(gateway: Penstock, config: Config) -> None:
    """As somebody does who has changed the file."""
    gateway.write(config)
    gateway.signal(signal.SIGHUP)


@dataclass
class Records:
    """The request records of its log, read as it grows."""

    log: Path
    ids: Counter[str] = field(default_factory=Counter)
    steady: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    odd: list[str] = field(default_factory=list)
    """Lines of level error, and what is no JSON: a traceback is among them."""
    reloads: int = 0
    _place: int = 0
    _rest: bytes = b""

    def read(self) -> None:
        """What was written since the last time."""
        with self.log.open("rb") as file:
            file.seek(self._place)
            data = file.read()
        self._place += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            record = json.loads(line)
        except ValueError:
            self.odd.append(line[:1000].decode(errors="replace"))
            return
        if record.get("event") == "request":
            (self.steady if record.get("alias") == STEADY else self.ids)[record["request"]] += 1
            self.outcomes[record.get("outcome", "answered")] += 1
        elif record.get("level") in {"error", "critical"}:
            self.odd.append(line[:2000].decode(errors="replace"))
        elif "reload" in str(record.get("event", "")).lower():
            self.reloads += 1
