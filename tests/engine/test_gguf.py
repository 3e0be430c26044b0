"""The header of GGUF files, good and bad."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.engine.gguf import Model, read_model
from penstock.engine.guide import guide_file
from penstock.errors import ConfigError


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def header(*pairs: tuple[str, int, bytes], version: int = 3) -> bytes:
    keys = b"".join(text(key) + struct.pack("<I", kind) + value for key, kind, value in pairs)
    return b"GGUF" + struct.pack("<IQQ", version, 0, len(pairs)) + keys


ARCHITECTURE = ("general.architecture", 8, text("llama"))
CONTEXT = ("llama.context_length", 4, struct.pack("<I", 4096))
WIDTH = ("llama.embedding_length", 10, struct.pack("<Q", 64))
STRINGS = ("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 2) + text("a") + text("b"))
NUMBERS = ("tokenizer.ggml.scores", 9, struct.pack("<IQ", 6, 3) + bytes(12))


def test_the_guide_is_read() -> None:
    assert read_model(guide_file()) == Model("llama", "guide", 2048, 192)


def test_arrays_before_the_sizes_are_skipped(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(header(ARCHITECTURE, STRINGS, NUMBERS, CONTEXT, WIDTH))
    assert read_model(file) == Model("llama", "", 4096, 64)


def test_sizes_that_are_not_there_are_zero(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(header(ARCHITECTURE))
    assert read_model(file) == Model("llama", "", 0, 0)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "begins with b''"),
        (b"PK\x03\x04", "instead of b'GGUF'"),
        (header(ARCHITECTURE, version=9), "version is 9"),
        (header(CONTEXT), "does not name its architecture"),
        (header(("general.architecture", 4, bytes(4))), "does not name its architecture"),
        (header(ARCHITECTURE, CONTEXT)[:-2], "ends in the middle"),
        (header(("key", 77, b"")), "unknown type 77"),
        (header(("key", 9, struct.pack("<IQ", 9, 1))), "unknown type 9"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60), "is the limit"),
        (header(("key", 8, struct.pack("<Q", 2**62))), "over the limit"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, content: bytes, why: str) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_model(file)
    assert why in caught.value.message
    assert caught.value.hint


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="directory"):
        read_model(tmp_path)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_model_or_an_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.mktemp("any") / "model.gguf"
    file.write_bytes(b"GGUF\x03\x00\x00\x00" + content)
    try:
        read_model(file)
    except ConfigError as problem:
        assert problem.hint  # noqa: PT017 -- both outcomes are right
