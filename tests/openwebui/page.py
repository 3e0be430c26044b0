"""Open WebUI's page as a person uses it: choose a model, ask, read, stop. The selectors are those of the pinned version."""

from __future__ import annotations

import os
from pathlib import Path

from tests.openwebui.browser import ENTER, Browser

PICTURES = os.environ.get("PENSTOCK_PICTURES", "")
"""A folder to keep pictures of the page in; none are taken where it is not set."""

INPUT = "#chat-input"
ANSWERS = "return [...document.querySelectorAll('.chat-assistant')].map(one => one.innerText.trim())"
SHOWN = f"const shown = (() => {{ {ANSWERS} }})(); return shown.length == arguments[0] && shown.at(-1) == arguments[1]"
IDLE = "return !document.querySelector('button[aria-label=Stop]')"
CHAT = "return (location.pathname.match(/^[/]c[/]([0-9a-f-]{36})$/) ?? [])[1]"
WELCOME = """
const button = [...document.querySelectorAll('[role=dialog] button, .modal button')].find(one => one.innerText.startsWith('Okay'));
button?.click();
return Boolean(button)
"""


class Page:
    """One tab with one conversation at a time."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.browser = browser
        self._url = url

    async def welcome(self) -> None:
        """The first visit: a dialog tells what is new, and is put away for good."""
        await self.browser.open(self._url)
        await self.browser.find(INPUT)
        await self.browser.until(WELCOME, what="the dialog of the first visit")

    async def new_chat(self, model: str) -> None:
        """An empty conversation with the model of this name, chosen in the menu."""
        await self.browser.open(self._url)
        await self.browser.find(INPUT)
        await self.browser.click("#model-selector-model-button")
        await self.browser.find(f'[role=option][data-value="{model}"]')
        await self.picture("open-webui-models")
        await self.browser.click(f'[role=option][data-value="{model}"]')
        chosen = "return document.querySelector('#model-selector-model-button').innerText.trim() == arguments[0]"
        await self.browser.until(chosen, model, what=f"{model} to be chosen")

    async def picture(self, name: str) -> None:
        """How the page looks now, for the documents."""
        if PICTURES:
            await self.browser.shot(Path(PICTURES) / f"{name}.png")

    async def say(self, text: str) -> None:
        """Send a message, as soon as the last answer is complete."""
        await self.browser.until(IDLE, what="the last answer to be complete")
        await self.browser.type(INPUT, text + ENTER)

    async def shows(self, number: int, answer: str) -> None:
        """Wait until the answer to message `number` is the last one and reads exactly so."""
        await self.browser.until(SHOWN, number, answer, what=f"answer {number} to read {answer!r}")

    async def complete(self) -> None:
        """Wait until no answer is being made."""
        await self.browser.until(IDLE, what="the answer to be complete")

    async def stop(self) -> None:
        """The button that ends an answer."""
        await self.browser.click("button[aria-label=Stop]")

    async def chat(self) -> str:
        """The id that Open WebUI gave the conversation."""
        identity: str = await self.browser.until(CHAT, what="the conversation to have an id")
        return identity
