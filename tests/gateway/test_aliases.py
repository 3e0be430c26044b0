"""Which alias a name means."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.config import Alias, Target
from penstock.errors import UnknownAlias
from penstock.gateway.aliases import Names
from penstock.types import Face


def alias(*also: str) -> Alias:
    return Alias(also=also, targets=(Target(backends=("b",), model="m"),))


NAMES = Names({"llama3.2": alias("org/Llama-3.2"), "qwen:0.5b": alias(), "tagged:latest": alias()}, "llama3.2")


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("llama3.2", "llama3.2"),
        ("llama3.2:latest", "llama3.2"),
        ("org/Llama-3.2", "llama3.2"),
        ("org/Llama-3.2:latest", "llama3.2"),
        ("qwen:0.5b", "qwen:0.5b"),
        ("tagged", "tagged:latest"),
        ("", "llama3.2"),
    ],
)
def test_a_name_and_its_alias(asked: str, found: str) -> None:
    for face in Face:
        assert NAMES.find(asked, face) == found


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [("llama3.3", "llama3.2"), ("LLAMA3.2", "llama3.2"), ("qwen", "qwen:0.5b"), ("qwen:0.5", "qwen:0.5b"), ("zzz", "")],
)
def test_an_unknown_name_hears_the_nearest_and_what_is_served(asked: str, nearest: str) -> None:
    with pytest.raises(UnknownAlias) as error:
        NAMES.find(asked, Face.OPENAI)
    assert error.value.hint == (f"Did you mean {nearest!r}?" if nearest else "")
    assert error.value.message == f"The model {asked!r} is not served here. Served: llama3.2, qwen:0.5b, tagged:latest."
    assert error.value.param == "model"


def test_ollamas_clients_hear_ollamas_words() -> None:
    with pytest.raises(UnknownAlias, match=r"^model 'zzz' not found"):
        NAMES.find("zzz", Face.OLLAMA)


def test_another_tag_is_another_model() -> None:
    with pytest.raises(UnknownAlias):
        NAMES.find("llama3.2:1b", Face.OLLAMA)


def test_a_name_of_its_own_wins_over_a_habit() -> None:
    names = Names({"m": alias(), "m:latest": alias()}, "m")
    assert names.find("m", Face.OLLAMA) == "m"
    assert names.find("m:latest", Face.OLLAMA) == "m:latest"


@given(st.text(min_size=1, max_size=300))
@settings(max_examples=60)
def test_whatever_is_asked_the_refusal_is_short(asked: str) -> None:
    names = Names({f"alias-{number}": alias() for number in range(30)}, "alias-0")
    with pytest.raises(UnknownAlias) as error:
        names.find(asked + "?", Face.OPENAI)
    assert "and 10 more" in error.value.message
    assert len(error.value.message) < 3000
