"""`penstock usage`: what the state holds, by tenant and key, for people and as JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.cli.inside import inside

from penstock.state.row import Sum, Whose
from penstock.state.store import Store
from penstock.state.usage import Usage

pytestmark = pytest.mark.asyncio

CONFIG = """
backends: {{gpu: {{kind: vllm, url: "http://127.0.0.1:9"}}}}
aliases: {{m: {{targets: [{{backends: [gpu], model: m}}]}}}}
state: sqlite:///{state}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration whose state has seen two tenants, today and forty days ago."""
    today = datetime.now(UTC).date()
    state = tmp_path / "state.db"
    with Store(f"sqlite:///{state}") as store:
        Usage(store).add(
            [
                (Whose(today.isoformat(), "red", "k1"), Sum(3, 1, 1000, 20)),
                (Whose(today.isoformat(), "red", "k2"), Sum(1, 0, 5, 6)),
                (Whose(today.isoformat(), "blue", "k3"), Sum(1, 0, 7, 8)),
                (Whose((today - timedelta(days=40)).isoformat(), "red", "k1"), Sum(100, 0, 1, 1)),
            ]
        )
    config = tmp_path / "penstock.yaml"
    config.write_text(CONFIG.format(state=state), encoding="utf-8")
    return config


async def test_today_by_tenant_and_key(file: Path) -> None:
    done = await inside("usage", "--config", str(file))
    assert done.code == 0
    rows = [line.split() for line in done.out.splitlines()]
    assert rows == [
        ["tenant", "key", "requests", "refused", "prompt", "answers"],
        ["blue", "1", "0", "7", "8"],
        ["k3", "1", "0", "7", "8"],
        ["red", "4", "1", "1,005", "26"],
        ["k1", "3", "1", "1,000", "20"],
        ["k2", "1", "0", "5", "6"],
    ]


async def test_since_a_day_as_json(file: Path) -> None:
    done = await inside("usage", "--since", "2020-01-01", "--tenant", "red", "--json", "--config", str(file))
    found = json.loads(done.out)
    assert found["since"] == "2020-01-01"
    assert found["tenants"] == {
        "red": {"requests": 104, "refused": 1, "prompt_tokens": 1006, "completion_tokens": 27},
    }
    assert [(one["key"], one["requests"]) for one in found["keys"]] == [("k1", 103), ("k2", 1)]


async def test_this_month_begins_on_its_first(file: Path) -> None:
    done = await inside("usage", "--month", "--json", "--config", str(file))
    assert json.loads(done.out)["since"] == datetime.now(UTC).date().replace(day=1).isoformat()


@pytest.mark.parametrize("options", [("--since", "yesterday"), ("--since", "2026-11-01", "--month")])
async def test_what_is_no_day(file: Path, options: tuple[str, ...]) -> None:
    assert (await inside("usage", *options, "--config", str(file))).code == 2


async def test_nothing_was_used(file: Path) -> None:
    done = await inside("usage", "--tenant", "nobody", "--config", str(file))
    assert "nothing was used" in done.out
