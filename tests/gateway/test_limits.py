"""The task that watches every limit may not end unseen."""

from __future__ import annotations

import asyncio

import pytest

from penstock.gateway.server import ended

pytestmark = pytest.mark.asyncio


async def test_the_gateway_drains_when_its_limits_are_no_longer_watched() -> None:
    stopped: list[bool] = []

    async def broken() -> None:
        raise KeyError("impossible")

    async def endless() -> None:
        await asyncio.Event().wait()

    for work, expected in ((broken, [True]), (endless, [True])):
        task = asyncio.create_task(work())
        task.add_done_callback(lambda task: ended(task, lambda: stopped.append(True)))
        if work is endless:
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0)
        assert stopped == expected
