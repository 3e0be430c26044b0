"""A headless Chromium, driven over W3C WebDriver: only what the tests of this folder do with a page.

WebDriver is JSON over HTTP to Debian's chromedriver, so the standard library is enough. Nothing here knows Open WebUI.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import re
import time
from pathlib import Path
from typing import Any, Self

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The key under which WebDriver names an element; the standard fixes it."""
ENTER = "\ue007"
START = 30.0
ANSWER = 60.0
"""Seconds for one command of the driver."""
ACT = 15.0
LOOK_EVERY = 0.1

# No sandbox: Chromium refuses to make one as root. No name but 127.0.0.1 resolves: the page stays on this machine.
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--window-size=1100,750",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


REDRAWN = frozenset({"stale element reference", "element click intercepted", "element not interactable"})


class Redrawn(AssertionError):
    """The page changed between looking for an element and acting on it."""


class Browser:
    """One browser with one page."""

    def __init__(self, driver: asyncio.subprocess.Process, port: int) -> None:
        self._driver = driver
        self._port = port
        self._session = ""

    @classmethod
    async def start(cls, chromium: str, chromedriver: str, folder: Path) -> Self:
        """A fresh browser; its profile and log lie in the folder."""
        driver = await asyncio.create_subprocess_exec(
            *(chromedriver, "--port=0", f"--log-path={folder / 'chromedriver.log'}"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        browser = cls(driver, 0)
        try:
            browser._port = await browser._listening()
            options = {"binary": chromium, "args": [*ARGUMENTS, f"--user-data-dir={folder / 'profile'}"]}
            wanted = {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}
            browser._session = (await browser._ask("POST", "/session", {"capabilities": wanted}))["sessionId"]
        except BaseException:
            await browser.close()
            raise
        return browser

    async def close(self) -> None:
        """End the browser, then its driver."""
        if self._session:
            await self._ask("DELETE", f"/session/{self._session}")
            self._session = ""
        if self._driver.returncode is None:
            self._driver.terminate()
        await self._driver.wait()

    async def open(self, url: str) -> None:
        await self._page("POST", "/url", {"url": url})

    async def script(self, text: str, *arguments: Any) -> Any:  # noqa: ANN401 - a page answers anything
        """The value a piece of JavaScript returns."""
        return await self._page("POST", "/execute/sync", {"script": text, "args": list(arguments)})

    async def until(self, text: str, *arguments: Any, what: str, limit: float = 30.0) -> Any:  # noqa: ANN401 - likewise
        """Ask a piece of JavaScript until what it returns is true; that value."""
        end = time.monotonic() + limit
        while not (value := await self.script(text, *arguments)):
            if time.monotonic() > end:
                shown = await self.script("return document.body.innerText")
                raise AssertionError(f"waited {limit:g} s for {what}; the page shows:\n{shown}")
            await asyncio.sleep(LOOK_EVERY)
        return value

    async def find(self, css: str, limit: float = 30.0) -> str:
        """The first visible element."""
        look = "return [...document.querySelectorAll(arguments[0])].find(one => one.offsetParent)"
        found: str = (await self.until(look, css, what=f"an element {css}", limit=limit))[ELEMENT]
        return found

    async def click(self, css: str) -> None:
        await self._do(css, "click", {})

    async def type(self, css: str, text: str) -> None:
        await self._do(css, "value", {"text": text})

    async def shot(self, file: Path) -> None:
        """The page as PNG."""
        picture = base64.b64decode(await self._page("GET", "/screenshot"))
        await asyncio.to_thread(file.write_bytes, picture)

    async def _do(self, css: str, action: str, body: dict[str, Any]) -> None:
        """Act on the first visible element; a page that is redrawn just then is looked at again."""
        end = time.monotonic() + ACT
        while True:
            try:
                await self._page("POST", f"/element/{await self.find(css)}/{action}", body)
            except Redrawn:
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(LOOK_EVERY)
            else:
                return

    async def _listening(self) -> int:
        """The port that chromedriver says it took."""
        assert self._driver.stdout is not None
        said = b""
        async with asyncio.timeout(START):
            while line := await self._driver.stdout.readline():
                said += line
                if found := re.search(rb"started successfully on port (\d+)", line):
                    return int(found[1])
        raise AssertionError(f"chromedriver ended instead of starting: {said.decode(errors='replace')}")

    async def _page(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:  # noqa: ANN401 - JSON
        return await self._ask(method, f"/session/{self._session}{path}", body)

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:  # noqa: ANN401 - JSON
        return await asyncio.to_thread(self._exchange, method, path, body)

    def _exchange(self, method: str, path: str, body: dict[str, Any] | None) -> Any:  # noqa: ANN401 - JSON
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=ANSWER)
        try:
            sent = None if body is None else json.dumps(body)
            connection.request(method, path, sent, {"content-type": "application/json"})
            value = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        if isinstance(value, dict) and "error" in value:
            kind = Redrawn if value["error"] in REDRAWN else AssertionError
            raise kind(f"the browser refused {method} {path}: {value['error']}: {value.get('message')}")
        return value
