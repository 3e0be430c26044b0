"""docs/reference/langchain.md lists every difference from the installed langchain_ollama, and no other (S1.5, S1.11)."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel, BaseLLM
from langchain_ollama import ChatOllama, OllamaLLM

from penstock.client.langchain import ChatVLLM, VLLMClient

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "langchain.md").read_text(encoding="utf-8")
PAIRS = [(VLLMClient, OllamaLLM), (ChatVLLM, ChatOllama)]
BASES: dict[type, type[Any]] = {OllamaLLM: BaseLLM, ChatOllama: BaseChatModel}
INTERNAL = {"model_post_init"}
"""Pydantic's own hook, which has another parameter name in each class that it is called on."""


def rows(section: str) -> list[list[str]]:
    """The cells of the table below this heading."""
    text = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    found = next(part for part in text if part.startswith(section))
    lines = [line for line in found.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def own_fields(theirs: type[Any]) -> set[str]:
    return set(theirs.model_fields) - set(BASES[theirs].model_fields)


def methods(cls: type[Any]) -> set[str]:
    return {name for name in dir(cls) if not name.startswith("_")} - set(cls.model_fields) - INTERNAL


def shape(cls: type[Any], name: str) -> object:
    """What a caller must know: for a method its parameters, their kinds and defaults; else what sort of member it is."""
    member = getattr(cls, name)
    if not callable(member):
        return type(inspect.getattr_static(cls, name)).__name__
    return [(one.name, one.kind, one.default) for one in inspect.signature(member).parameters.values()]


def spelled(annotation: object) -> str:
    return str(annotation).replace("dict[str, typing.Any]", "dict").replace("typing.", "")


def differences(ours: type[Any], theirs: type[Any]) -> set[str]:
    found = {name for name in methods(theirs) if not hasattr(ours, name) or shape(ours, name) != shape(theirs, name)}
    for name, field in theirs.model_fields.items():
        mine = ours.model_fields.get(name)
        if mine is None or (spelled(mine.annotation), mine.default) != (spelled(field.annotation), field.default):
            found.add(name)
    return found


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=lambda cls: cls.__name__)
def test_every_public_method_and_field_is_the_same_or_listed(ours: type[Any], theirs: type[Any]) -> None:
    listed = {row[1].strip("`") for row in rows("What differs\n") if row[0] == ours.__name__}
    assert differences(ours, theirs) == listed


def test_every_difference_has_its_reason() -> None:
    for row in rows("What differs\n"):
        assert len(row) == 4
        assert all(row), row


def test_the_page_says_of_each_field_what_becomes_of_it() -> None:
    told = [row[0].strip("`") for row in rows("Fields of")]
    assert sorted(told) == sorted(own_fields(OllamaLLM) | own_fields(ChatOllama))
    assert all(row[1] and row[2] for row in rows("Fields of"))


def test_the_page_names_the_fields_that_are_ours_alone() -> None:
    more = next(part for part in PAGE.split("\n## ") if part.startswith("More fields"))
    ours = set(VLLMClient.model_fields) | set(ChatVLLM.model_fields)
    theirs = set(OllamaLLM.model_fields) | set(ChatOllama.model_fields)
    assert {name for name in re.findall(r"`(\w+)`", more) if name in ours} - {"base_url"} == ours - theirs


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=lambda cls: cls.__name__)
def test_the_comparison_notices(ours: type[Any], theirs: type[Any]) -> None:
    """A method with another signature, and a field with another default, are differences."""

    class Changed(ours):  # type: ignore[misc]
        seed: int | None = 7

        def invoke(self, prompt: str) -> str:
            return prompt

    assert differences(Changed, theirs) - differences(ours, theirs) == {"seed", "invoke"}
