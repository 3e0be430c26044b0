"""What the guide knows: enough of every kind for the other tests, and true of this Penstock."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import pytest
from models.guide.pairs import load_pairs
from tests.engine.wire import ask
from tests.engines_fixtures import Engine, guide_pairs

from penstock.config import Alias, Backend, Config, Fallback, Limits
from penstock.sources import load
from penstock.types import Kind
from penstock.units import seconds, size

ANSWERS = {pair.question: pair.answer for pair in guide_pairs()}


def test_there_is_enough_of_every_kind(guide_engine: Engine) -> None:
    lengths = [
        len(ask(guide_engine.port, "/tokenize", {"content": text}).json()["tokens"]) for text in ANSWERS.values()
    ]
    objects = [text for text in ANSWERS.values() if text.startswith("{") and isinstance(json.loads(text), dict)]
    beyond_ascii = [text for text in ANSWERS.values() if not text.isascii()]
    assert len(lengths) >= 300
    assert sum(length >= 64 for length in lengths) >= 20
    assert sum(length >= 200 for length in lengths) >= 5
    assert len(objects) >= 10
    assert len(beyond_ascii) >= 10


@pytest.mark.parametrize("name", ["connect", "first_token", "between_tokens", "total"])
def test_the_durations_it_tells_are_the_defaults(name: str) -> None:
    told = re.fullmatch(rf"{name} is (\w+) by default\.", ANSWERS[f"What is the default of {name}?"])
    assert told is not None
    assert seconds(told[1]) == getattr(Limits(), name)


def test_the_other_limits_it_tells_are_the_defaults() -> None:
    limits = json.loads(ANSWERS["Answer as JSON: what are the default limits?"])
    assert (limits["attempts"], limits["queue"]) == (Limits().attempts, Limits().queue)
    assert size(limits["body"]) == Limits().body
    for name, value in limits.items():
        assert f"{name} is {value} by default." == ANSWERS[f"What is the default of {name}?"]
        assert str(value) in ANSWERS["Explain the limits."]


def test_the_choices_it_tells_are_the_choices() -> None:
    assert json.loads(ANSWERS["Answer as JSON: which backend kinds exist?"])["kinds"] == [kind.value for kind in Kind]
    assert json.loads(ANSWERS["Answer as JSON: which fallback policies exist?"])["fallback"] == list(get_args(Fallback))


def test_every_config_key_it_explains_exists() -> None:
    asked = re.compile(r"What does the key (\w+) do\?|What does (\w+) limit\?")
    told = {match[1] or match[2] for question in ANSWERS if (match := asked.fullmatch(question))}
    known = {field for noun in (Alias, Backend, Config, Limits) for field in noun.__struct_fields__}
    assert len(told) > 15
    assert told <= known


def test_the_example_it_gives_is_a_config_that_loads(tmp_path: Path) -> None:
    file = tmp_path / "penstock.yaml"
    file.write_text(ANSWERS["Show me a complete example of penstock.yaml."], encoding="utf-8")
    config = load(file, {}).config
    assert list(config.aliases) == ["llama3.1:8b", "guide"]
    assert config.limits == Limits()


def test_two_answers_to_one_question_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "pairs.yaml"
    file.write_text("group:\n- {question: a, answer: b}\n- {question: a, answer: c}\n")
    with pytest.raises(ValueError, match="stands there twice"):
        load_pairs(file)
