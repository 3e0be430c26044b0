"""Options that a backend has no word for: named in a header and counted, whatever a client calls them."""

from __future__ import annotations

import pytest
from tests.fakes.gateway import StartGateway
from tests.fakes.raw import once

from penstock.faults.engine import Engine

pytestmark = pytest.mark.asyncio


async def test_made_up_names_neither_split_the_head_nor_grow_the_metrics(
    gateway: StartGateway, scripted_engine: Engine
) -> None:
    """S1.37: what is dropped is said; a name made to break out of its header line or to flood the labels is harmless."""
    one = await gateway(
        {
            "backends": {"first": {"kind": "vllm", "url": scripted_engine.url}},
            "aliases": {"m": {"targets": [{"backends": ["first"], "model": "m"}]}},
        }
    )
    ask = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "stream": False}
    evil = await once(one.url, "/api/chat", ask | {"options": {"a\r\nset-cookie: evil=1\r\nx": 1, "mirostat": 2}})
    assert evil.status == 200
    assert evil.header("set-cookie") is None
    assert "mirostat" in (evil.header("x-penstock-dropped") or "")
    for batch in range(12):
        flood = {f"made-up-{batch}-{number}": 1 for number in range(32)}
        assert (await once(one.url, "/api/chat", ask | {"options": flood})).status == 200
    page = (await once(one.url, "/metrics")).body.decode()
    labels = [line for line in page.splitlines() if line.startswith("penstock_options_dropped_total{")]
    assert 100 < len(labels) <= 201
    assert any('option="other"' in line for line in labels)
