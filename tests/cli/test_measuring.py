"""What `compare` and `bench` make of their options."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.bench.results import Level
from penstock.cli.measuring import key_in, levels_of, wire_of, writable
from penstock.errors import ConfigError
from penstock.types import Wire


@pytest.mark.parametrize(
    ("concurrency", "rate", "levels"),
    [
        ("", "", [Level(1)]),
        ("1,4, 8", "", [Level(1), Level(4), Level(8)]),
        ("", "0.5,2", [Level(None, 0.5), Level(None, 2.0)]),
        ("16", "1,2", [Level(16, 1.0), Level(16, 2.0)]),
        ("", "inf", [Level(None, float("inf"))]),
    ],
)
def test_levels(concurrency: str, rate: str, levels: list[Level]) -> None:
    """W14: a rate, with a bound beside it, as `vllm bench serve` has them."""
    assert list(levels_of(concurrency, rate)) == levels


@pytest.mark.parametrize(
    ("concurrency", "rate", "said"),
    [
        ("0", "", "whole numbers from 1 to 4096"),
        ("5000", "", "whole numbers from 1 to 4096"),
        ("1.5", "", "whole numbers"),
        ("two", "", "whole numbers"),
        ("", "-1", "numbers above 0"),
        ("", "nan", "numbers above 0"),
        ("1,2", "1", "one number bounds"),
    ],
)
def test_levels_that_make_no_sense(concurrency: str, rate: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        levels_of(concurrency, rate)


def test_words_of_levels() -> None:
    told = [Level(4).words, Level(None, 2.5).words, Level(8, 2.0).words, Level(None, float("inf")).words]
    assert told == ["concurrency 4", "2.5 requests/s", "2 requests/s, at most 8 at once", "all at once"]


def test_protocols() -> None:
    assert [wire_of(name, "--api") for name in ("openai", "ollama", "auto")] == [Wire.OPENAI, Wire.OLLAMA, None]
    with pytest.raises(ConfigError, match="openai, ollama or auto"):
        wire_of("grpc", "--api")


def test_keys_are_named_and_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "secret")
    assert (key_in("", "--key-env"), key_in("SOME_KEY", "--key-env")) == ("", "secret")
    monkeypatch.delenv("SOME_KEY")
    with pytest.raises(ConfigError, match="no such variable"):
        key_in("SOME_KEY", "--key-env")


def test_a_place_for_a_page(tmp_path: Path) -> None:
    writable(None, "--html")
    writable(tmp_path / "page.html", "--html")
    for wrong in (tmp_path, tmp_path / "no" / "page.html"):
        with pytest.raises(ConfigError, match="no folder for it"):
            writable(wrong, "--html")
