"""YAML, stricter: every value has a line, and what no configuration needs is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import ConfigError
from penstock.yaml_file import LARGEST, parse_yaml, read_yaml


def refusal(raw: bytes) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(raw, "penstock.yaml")
    return caught.value.message


def test_every_value_has_its_line() -> None:
    placed = parse_yaml(b"# hello\nlisten:\n  - 127.0.0.1:8000\nlimits: {queue: 3,\n  body: 1MiB}\n", "penstock.yaml")
    assert placed.data == {"listen": ["127.0.0.1:8000"], "limits": {"queue": 3, "body": "1MiB"}}
    assert placed.origin["listen",] == "penstock.yaml:2"
    assert placed.origin["listen", 0] == "penstock.yaml:3"
    assert placed.origin["limits", "queue"] == "penstock.yaml:4"
    assert placed.origin["limits", "body"] == "penstock.yaml:5"


def test_an_empty_file_is_an_empty_mapping() -> None:
    assert parse_yaml(b"# nothing\n", "penstock.yaml").data == {}


def test_a_key_that_stands_twice_is_an_error_with_both_lines() -> None:
    said = refusal(b"backends:\n  a: 1\n  b: 2\n  a: 3\n")
    assert said == "penstock.yaml:4: the key 'a' stands twice, first at penstock.yaml:2 (in backends)."


@pytest.mark.parametrize(
    ("raw", "part"),
    [
        (b"a: [1\nb: 2", "penstock.yaml:2: this is not YAML"),
        (b"\xff\xfe\xff", "this is not YAML"),
        (b"a: \x00", "this is not YAML"),
        (b"- a", "is not a mapping"),
        (b"text", "is not a mapping"),
        (b"1: a", "1 is not text as a key"),
        (b"on: a", "on is not text as a key"),
        (b"{[1]: a}", "a list or mapping is not text as a key"),
        (b"a: 1\n---\nb: 2", "this is not YAML"),
        (b"a: !!python/object:os.system x", "this is not YAML"),
        (b"a: " + b"9" * 5000, "cannot be read"),
        (b"a: 2026-13-45", "cannot be read"),
        (b"a: &x [*x]", "holds more values, or deeper ones"),
        (b"a: " + b"[" * 1200, "this is not YAML"),
    ],
)
def test_what_is_refused(raw: bytes, part: str) -> None:
    assert part in refusal(raw)


def test_anchors_cannot_become_a_billion_values() -> None:
    lines = ["a0: &a0 [" + ", ".join("x" * 10) + "]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert "holds more values" in refusal("\n".join(lines).encode())


def test_a_file_that_is_not_there_and_one_that_is_too_large(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read: No such file"):
        read_yaml(tmp_path / "none.yaml")
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (LARGEST + 1))
    with pytest.raises(ConfigError, match="is larger than"):
        read_yaml(large)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_mapping_or_a_config_error(raw: bytes) -> None:
    try:
        placed = parse_yaml(raw, "penstock.yaml")
    except ConfigError:
        return
    assert isinstance(placed.data, dict)


@given(st.text(alphabet="abc:-[]{}&*!|>'\"#%@` \n0123456789.~<?", max_size=60))
def test_any_text_gives_a_mapping_or_a_config_error(text: str) -> None:
    try:
        placed = parse_yaml(text.encode(), "penstock.yaml")
    except ConfigError as error:
        right = "penstock.yaml" in error.message
    else:
        right = isinstance(placed.data, dict)
    assert right
