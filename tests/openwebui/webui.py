"""A real Open WebUI as a process: started against servers, waited for, stopped. Its data lies in the test's folder."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.fakes.raw import once

ROOT = Path(__file__).parents[2]
VENV = ROOT / os.environ.get("PENSTOCK_OPENWEBUI_VENV", ".venv-openwebui")
READY = 240.0
STOP = 20.0
LOOK_EVERY = 0.25
LOG_TAIL = 6000

# One person without a login, nothing looked up, nothing reported.
SETTINGS = {
    "WEBUI_AUTH": "False",
    "WEBUI_SECRET_KEY": "made-up-for-the-test",
    "ENABLE_FORWARD_USER_INFO_HEADERS": "true",
    "ENABLE_PERSISTENT_CONFIG": "false",
    "OFFLINE_MODE": "true",
    "HF_HUB_OFFLINE": "1",
    "RAG_EMBEDDING_ENGINE": "openai",
    "BYPASS_EMBEDDING_AND_RETRIEVAL": "true",
    "ENABLE_VERSION_UPDATE_CHECK": "false",
    "ENABLE_EVALUATION_ARENA_MODELS": "false",
    "ENABLE_EASTER_EGGS": "false",
    "ANONYMIZED_TELEMETRY": "false",
    "DO_NOT_TRACK": "true",
    "SCARF_NO_ANALYTICS": "true",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


class OpenWebUI:
    """One running server."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, log: Path) -> None:
        self._process = process
        self.url = url
        self._log = log
        self.started_in = 0.0

    @classmethod
    async def start(cls, ollama: str, openai: Sequence[str], folder: Path, settings: Mapping[str, str]) -> Self:
        """A fresh one with an Ollama connection and OpenAI connections to these servers, once it answers /health."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        connections = {
            "OLLAMA_BASE_URL": ollama,
            "OPENAI_API_BASE_URLS": ";".join(f"{url}/v1" for url in openai),
            "OPENAI_API_KEYS": ";".join("any-word" for _ in openai),
            "RAG_OPENAI_API_BASE_URL": f"{openai[0]}/v1",
            "DATA_DIR": str(folder),
        }
        file = folder / "open-webui.log"
        began = time.monotonic()
        with file.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(str(VENV / "bin/open-webui"), "serve", "--host", "127.0.0.1", "--port", str(port)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env={**os.environ, **SETTINGS, **connections, **settings},
            )
        webui = cls(process, f"http://127.0.0.1:{port}", file)
        try:
            await webui._until_ready()
        except BaseException:
            await webui.stop()
            raise
        webui.started_in = time.monotonic() - began
        return webui

    @property
    def log(self) -> str:
        """The end of what it has written."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-LOG_TAIL:]

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL where that is not enough."""
        if self._process.returncode is None:
            self._process.terminate()
        try:
            async with asyncio.timeout(STOP):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def _until_ready(self) -> None:
        end = time.monotonic() + READY
        while time.monotonic() < end:
            assert self._process.returncode is None, f"Open WebUI ended instead of starting:\n{self.log}"
            try:
                if (await once(self.url, "/health")).status == 200:
                    return
            except OSError:
                pass
            await asyncio.sleep(LOOK_EVERY)
        raise AssertionError(f"Open WebUI did not answer /health within {READY:g} s:\n{self.log}")
