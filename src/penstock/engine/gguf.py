"""Reads what a GGUF file says of itself: architecture, name, and the sizes we need before llama.cpp loads it.

Only the header: no tensor is read, and reading stops as soon as everything wanted is known. Layout: ggml's docs/gguf.md.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from penstock.errors import ConfigError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
KEY_LIMIT = 65_536
TEXT_LIMIT = 2**20
STRING, ARRAY = 8, 9
# Value types by number: u8 i8 u16 i16 u32 i32 f32 bool, then the two above, then u64 i64 f64.
FORMATS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}

Value = int | float | bool | str | None


@dataclass(frozen=True, slots=True)
class Model:
    """What the header says; 0 where it says nothing."""

    architecture: str
    name: str
    context: int
    embedding: int


def read_model(path: Path) -> Model:
    """The header of the file at `path`. Raises ConfigError for a file that is missing, unreadable or not GGUF."""
    try:
        with path.open("rb") as file:
            return _read(file)
    except FileNotFoundError as problem:
        raise _unusable(path, "there is no such file", "Check the path, or use the bundled model: guide.") from problem
    except OSError as problem:
        raise _unusable(path, problem.strerror or str(problem), "Check the file and its permissions.") from problem
    except (EOFError, UnicodeDecodeError, ValueError) as problem:
        raise _unusable(path, f"it is not a GGUF file: {problem}", "Download it again, or choose another.") from problem


def _unusable(path: Path, why: str, hint: str) -> ConfigError:
    return ConfigError(f"Loading the model {path}: {why}.", hint=hint)


def _read(file: BinaryIO) -> Model:
    magic = file.read(4)
    if magic != MAGIC:
        raise ValueError(f"it begins with {magic!r} instead of {MAGIC!r}")
    version, _, keys = struct.unpack("<IQQ", _take(file, 20))
    if version not in VERSIONS:
        raise ValueError(f"its version is {version}, and {VERSIONS} are known")
    if keys > KEY_LIMIT:
        raise ValueError(f"it claims {keys} keys, and {KEY_LIMIT} is the limit")
    found: dict[str, Value] = {}
    for _ in range(keys):
        key = _text(file)
        found[key] = _value(file)
        architecture = found.get("general.architecture")
        if f"{architecture}.context_length" in found and f"{architecture}.embedding_length" in found:
            break
    return _model(found)


def _model(found: dict[str, Value]) -> Model:
    architecture = found.get("general.architecture")
    if not isinstance(architecture, str):
        raise ValueError("it does not name its architecture")  # noqa: TRY004 -- the file is wrong, not our types
    name = found.get("general.name")
    return Model(
        architecture,
        name if isinstance(name, str) else "",
        _whole(found.get(f"{architecture}.context_length")),
        _whole(found.get(f"{architecture}.embedding_length")),
    )


def _whole(value: Value) -> int:
    return value if isinstance(value, int) else 0


def _take(file: BinaryIO, size: int) -> bytes:
    taken = file.read(size)
    if len(taken) < size:
        raise EOFError("it ends in the middle of its header")
    return taken


def _text(file: BinaryIO) -> str:
    (size,) = struct.unpack("<Q", _take(file, 8))
    if size > TEXT_LIMIT:
        raise ValueError(f"a text of {size} bytes in the header is over the limit of {TEXT_LIMIT}")
    return _take(file, size).decode()


def _value(file: BinaryIO) -> Value:
    (kind,) = struct.unpack("<I", _take(file, 4))
    if kind == STRING:
        return _text(file)
    if kind == ARRAY:
        _skip_array(file)
        return None
    return _number(file, kind)


def _number(file: BinaryIO, kind: int) -> Value:
    form = FORMATS.get(kind)
    if form is None:
        raise ValueError(f"its header holds a value of the unknown type {kind}")
    number: int | float | bool = struct.unpack(form, _take(file, struct.calcsize(form)))[0]
    return number


def _skip_array(file: BinaryIO) -> None:
    kind, count = struct.unpack("<IQ", _take(file, 12))
    if kind == STRING:
        for _ in range(count):
            _text(file)
    elif kind in FORMATS:
        file.seek(count * struct.calcsize(FORMATS[kind]), 1)
    else:
        raise ValueError(f"its header holds an array of the unknown type {kind}")
