"""Every mistake is found, and what has none converts: whatever the data looks like."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from penstock.config import Config, Limits
from penstock.shape import Plain, check, dotted, nearest
from penstock.types import Kind


class Leaf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of every type that the configuration uses."""

    kind: Kind
    mode: Literal["hot", "asgi"] = "hot"
    flag: bool = False
    count: Annotated[int, Meta(ge=1)] = 1
    wait: Annotated[float, Meta(gt=0, extra={"unit": "duration"})] | None = None
    room: Annotated[int, Meta(gt=0, extra={"unit": "size"})] = 1
    name: Annotated[str, Meta(pattern="^[a-z]+$", extra={"secret": True})] = "a"


class Tree(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Leaves in a list and in a mapping."""

    leaves: Annotated[tuple[Leaf, ...], Meta(min_length=1)]
    named: dict[str, Leaf] = {}


LEAST: dict[str, Plain] = {
    "backends": {"local": {"kind": "embedded"}},
    "aliases": {"guide": {"targets": [{"backends": ["local"], "model": "guide"}]}},
}
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-2, 5)
    | st.floats()
    | st.sampled_from(["vllm", "hot", "2s", "1MiB", "a", "", "A"])
)
KEYS = st.sampled_from(["leaves", "named", "kind", "mode", "flag", "count", "wait", "room", "name", "other"])
DATA = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=20
)
LEAVES = st.fixed_dictionaries(
    {"kind": st.sampled_from(["vllm", "ollama"])},
    optional={"mode": SCALARS, "flag": SCALARS, "count": SCALARS, "wait": SCALARS, "room": SCALARS, "name": SCALARS},
)


@given(st.fixed_dictionaries({"leaves": st.lists(LEAVES, max_size=2)}, optional={"named": DATA}) | DATA)
def test_data_has_mistakes_or_converts(data: Plain) -> None:
    clean, mistakes = check(data, Tree)
    for path, text in mistakes:
        assert text
        assert dotted(path) or not path
    if not mistakes:
        assert isinstance(msgspec.convert(clean, Tree), Tree)


@given(st.dictionaries(st.sampled_from(Config.__struct_fields__), DATA))
def test_so_has_any_configuration(data: dict[str, Plain]) -> None:
    clean, mistakes = check(data, Config)
    if not mistakes:
        msgspec.convert(clean, Config)


@given(st.dictionaries(st.sampled_from(Limits.__struct_fields__), SCALARS))
def test_limits_are_numbers_above_nothing(data: dict[str, Plain]) -> None:
    clean, mistakes = check(data, Limits)
    if not mistakes:
        limits = msgspec.convert(clean, Limits)
        values = {name: getattr(limits, name) for name in Limits.__struct_fields__}
        may_be_nought = {"queue", "retries", "retries_reserve"}
        assert all(value > 0 or name in may_be_nought for name, value in values.items() if value is not None)
        assert all(value >= 0 for value in values.values() if value is not None)


def test_a_secret_is_not_repeated() -> None:
    _, mistakes = check({"leaves": [{"kind": "vllm", "name": "S3CRET"}]}, Tree)
    assert [text for _, text in mistakes] == ["expects text that is not empty, not what stands there"]
    assert "S3CRET" not in repr(mistakes)


def test_a_long_value_is_shortened() -> None:
    _, mistakes = check({"leaves": [{"kind": "x" * 10_000}]}, Tree)
    assert len(mistakes[0].text) < 200


def test_paths_are_spelled_so_that_names_stay_whole() -> None:
    assert dotted(("aliases", "llama3.1:8b", "targets", 0, "model")) == 'aliases."llama3.1:8b".targets[0].model'


def test_the_nearest_name_or_all_of_them() -> None:
    assert nearest("ulr", ["kind", "url"]) == "did you mean 'url'?"
    assert nearest("zzz", ["kind", "url"]) == "known here: kind, url"


def told(key: str, value: Plain) -> str:
    _, ((path, text),) = check({**LEAST, key: value}, Config)
    return f"{dotted(path)}: {text}"


def test_what_may_stand_there_is_listed_once() -> None:
    expected = "log.level: expects one of debug, error, info, warning, not"
    assert told("log", {"level": "loud"}) == f"{expected} 'loud'"
    assert told("log", {"level": "warn"}) == f"{expected} 'warn'; did you mean 'warning'?"


def test_a_bare_port_is_taken_for_an_address_of_this_machine() -> None:
    assert told("listen", 8000) == "listen: expects a list, for example [127.0.0.1:8000], not 8000"
    assert told("listen", 70000) == "listen: expects a list, for example [127.0.0.1:8000], not 70000"
    assert told("listen", "0.0.0.0:80") == "listen: expects a list, for example [0.0.0.0:80], not '0.0.0.0:80'"
