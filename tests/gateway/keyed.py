"""A gateway's keys as its owner orders them, over the admin socket; and a line that wants to know of them."""

from __future__ import annotations

from typing import Any

import msgspec
import yaml
from tests.fakes.gateway import Gateway

from penstock.gateway.auth import NONE_STORED, Stored
from penstock.gateway.peers import ask
from penstock.gateway.tokens import Tokens


class Orders:
    """The admin socket of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._path = str(yaml.safe_load(gateway.config.read_text())["admin"])

    async def __call__(self, verb: str, **order: object) -> dict[str, Any]:
        """One order, one answer."""
        answer = await ask(self._path, "POST", f"/keys/{verb}", msgspec.json.encode(order))
        return msgspec.json.decode(answer, type=dict[str, Any])

    async def listed(self) -> list[dict[str, Any]]:
        """All keys."""
        keys: list[dict[str, Any]] = msgspec.json.decode(await ask(self._path, "GET", "/keys"))["keys"]
        return keys

    async def key(self, *scopes: str, name: str = "ann", tenant: str = "acme", **more: object) -> str:
        """A new key as a header line."""
        return bearer(await self("create", name=name, tenant=tenant, scopes=scopes or ("*",), **more))


def bearer(made: dict[str, Any]) -> str:
    return f"authorization: Bearer {made['secret']}"


class Waiting:
    """Stands for a line: what is stored, and how often it was made to ask again."""

    def __init__(self) -> None:
        self.stored: Stored = NONE_STORED
        self.tokens: Tokens | None = None
        self.renewed = 0

    def renew(self) -> None:
        """Count."""
        self.renewed += 1
