"""`penstock models` and `penstock version`, and what every verb says when nobody answers."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from tests.cli.console import run

from penstock import __version__


def test_the_list(tmp_path: Path, guide_url: str) -> None:
    done = run(tmp_path, "models", "--url", guide_url)
    assert done.code == 0
    assert ["guide", "2048", "ready", "local"] in [line.split() for line in done.out.splitlines()]


def test_the_list_as_json_from_a_url_with_v1(tmp_path: Path, guide_url: str) -> None:
    """X2."""
    entries = run(tmp_path, "models", "--json", "--url", f"{guide_url}/v1").data
    assert [entry["id"] for entry in entries] == ["guide"]
    assert entries[0]["max_model_len"] > 0
    assert entries[0]["readiness"] == "ready"


@pytest.mark.parametrize("verb", ["models", "chat"])
def test_nobody_answers(tmp_path: Path, verb: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    done = run(tmp_path, verb, "--url", f"http://127.0.0.1:{port}")
    assert done.code == 1
    assert f"http://127.0.0.1:{port}" in done.err
    assert "connection refused" in done.err
    assert "penstock up" in done.err


def test_a_url_that_is_none(tmp_path: Path) -> None:
    done = run(tmp_path, "models", "--url", "127.0.0.1:8000")
    assert done.code == 2
    assert "a URL that begins with http://" in done.err


def test_versions(tmp_path: Path) -> None:
    assert run(tmp_path, "version").out == f"{__version__}\n"
    data = run(tmp_path, "version", "--json").data
    assert data["penstock"] == __version__
    assert all(data["parts"].values())


def test_help_groups_every_verb(tmp_path: Path) -> None:
    done = run(tmp_path, "--help")
    for word in ("Serve", "Ask", "Look", "up", "serve", "chat", "models", "explain-config", "version"):
        assert word in done.out


def test_an_unknown_verb_is_a_wrong_option(tmp_path: Path) -> None:
    assert run(tmp_path, "upp").code == 2
