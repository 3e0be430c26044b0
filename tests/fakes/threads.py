"""Runs a blocking client beside the event loop that serves it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(call: Callable[[], T], limit: float = 30.0) -> T:
    """The result of a blocking call; fails after `limit` seconds."""
    async with asyncio.timeout(limit):
        return await asyncio.to_thread(call)
