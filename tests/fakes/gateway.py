"""The real gateway as a process of its own, from a configuration written for the test."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from tests.fakes.raw import once

START = 30.0
STOP = 30.0

Config = dict[str, Any]


class Gateway:
    """One running gateway."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, log: Path, config: Path) -> None:
        self.process = process
        self.url = url
        self._log = log
        self.config = config

    @property
    def log(self) -> str:
        """Everything it has written to stderr so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    async def until(self, path: str, holds: Callable[[Any], bool], *headers: str, limit: float = START) -> Any:  # noqa: ANN401
        """Ask a page that answers JSON until `holds` of it; the page."""
        page: Any = None
        try:
            async with asyncio.timeout(limit):
                while True:
                    page = (await once(self.url, path, None, *headers)).json()
                    if holds(page):
                        return page
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(
                f"{path} did not become what was waited for in {limit:g} s: {page}\n{self.log}"
            ) from None

    async def stop(self) -> int:
        """SIGTERM, and wait for the end; the exit status."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP):
                return await self.process.wait()
        except TimeoutError:
            state = _state(self.process.pid)
            self.process.kill()
            await self.process.wait()
            words = f"the gateway did not end within {STOP:g} s of SIGTERM; {state}"
            raise AssertionError(f"{words}\n{self.log[-8000:]}") from None


def _state(pid: int) -> str:
    """What the kernel says of a process: told when one does not end."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
        sockets = [str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError as error:
        return f"it is gone already ({error})"
    lines = [line for line in status.splitlines() if line.startswith(("State", "Threads"))]
    return f"{lines}, open files {sorted(sockets)}"


StartGateway = Callable[..., Awaitable[Gateway]]


class Gateways:
    """Starts gateways and ends every one of them, cleanly or with an error."""

    def __init__(self, folder: Path, lane: str) -> None:
        self._folder = folder
        self._lane = lane
        # a socket's path may have 107 characters and pytest's folders are longer
        self._sockets = Path(tempfile.mkdtemp(prefix="pen"))
        self._running: list[Gateway] = []
        self._count = 0

    async def start(self, config: Config, *, env: Mapping[str, str] | None = None) -> Gateway:
        """A gateway with this configuration; listen, state, admin and log are filled in where they are missing."""
        self._count += 1
        file = self._folder / f"penstock-{self._count}.yaml"
        log = self._folder / f"gateway-{self._count}.log"
        own: Config = {
            "listen": ["127.0.0.1:0"],
            "state": f"sqlite:///{self._folder / f'state-{self._count}.db'}",
            "admin": str(self._sockets / f"{self._count}.sock"),
            "http": self._lane,
            "log": {"format": "json"},
        }
        file.write_text(yaml.safe_dump(own | config, sort_keys=False), encoding="utf-8")
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "penstock.gateway", "--config", str(file)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **(env or {})},
            )
        gateway = Gateway(process, "", log, file)
        self._running.append(gateway)
        gateway.url = ("https://" if "tls" in config else "http://") + await self._listening(gateway)
        assert "tls" in config or (await once(gateway.url, "/livez")).status == 200
        return gateway

    async def _listening(self, gateway: Gateway) -> str:
        """The address in the line it prints when it is ready."""
        assert gateway.process.stdout is not None
        try:
            async with asyncio.timeout(START):
                line = await gateway.process.stdout.readline()
        except TimeoutError:
            raise AssertionError(f"the gateway said nothing for {START:g} s\n{gateway.log}") from None
        assert line, f"the gateway ended instead of starting\n{gateway.log}"
        address: str = json.loads(line)["listen"][0]
        return address

    async def close(self) -> None:
        """End all of them; a gateway that crashed or logged a traceback fails its test."""
        complaints = []
        for gateway in self._running:
            status = await gateway.stop()
            if status != 0 or "Traceback" in gateway.log:
                told = [line for line in gateway.log.splitlines() if "Traceback" in line] or [gateway.log[-4000:]]
                complaints.append(f"exit status {status}\n" + "\n".join(told))
        shutil.rmtree(self._sockets)
        assert not complaints, "\n\n".join(complaints)
