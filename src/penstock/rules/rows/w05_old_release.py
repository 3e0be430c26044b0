"""W5: a vLLM of years ago, or none at all because the shell took the requirement apart."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from penstock.rules.engine import commands, containers
from penstock.rules.finding import Evidence, Finding
from penstock.rules.material import Command, Material, Recipe
from penstock.rules.reading.flags import base, program
from penstock.rules.rule import Rule, finding
from penstock.rules.vllm import OLDEST, PYTHON, VERSION

INSTALLERS: Final = frozenset({"pip", "pip3", "pipx"})
PIN: Final = re.compile(r"vllm(?:\[[^\]]*\])?\s*(?:==|~=|<=?)\s*(\d+)\.(\d+)[\w.]*(?:,.*)?(?:\s*;.*)?")
LOOSE: Final = frozenset({"torch", "transformers", "torchvision"})
_PYTHON: Final = re.compile(r"python:?(3)\.(\d+)(?:-[\w.-]+)?")
_IMAGE: Final = re.compile(r"vllm/vllm-openai:v?(\d+)\.(\d+)[\w.-]*")
MEND: Final = f"use the image of a current release by its digest, or pin vllm {VERSION} alone and let it choose its torch; it needs Python 3.{PYTHON[1]} or later"


def look(material: Material) -> Iterator[Finding]:
    for command in commands(material):
        yield from _installed(command)
    for requirement in material.requirements:
        pin = PIN.fullmatch(requirement.text)
        if pin and _old(pin):
            yield _too_old(requirement.text, requirement.at)
    for recipe in material.recipes:
        yield from _old_python(recipe)
    images = [(one.image, one.at) for one in containers(material)] + [(one.image, one.at) for one in material.recipes]
    for name, at in images:
        tag = _IMAGE.fullmatch(name)
        if tag and _old(tag):
            yield _too_old(name, at)


def _installed(command: Command) -> Iterator[Finding]:
    for words in program(command.words):
        if not _installs(tuple(word.text for word in words), base(words[0])):
            continue
        pins = [(word, pin) for word in words if (pin := PIN.fullmatch(word.text)) and _old(pin)]
        loose = [word.at for word in words if word.text in LOOSE]
        for word, _ in pins:
            yield _too_old(word.text, word.at, *loose)
    cut = [word for word in command.redirected if word.text.startswith("=")]
    if cut and any(word.text.startswith(("vllm", "torch")) or "[vllm]" in word.text for word in command.words):
        yield finding(
            "W5",
            f"the shell takes `>{cut[0].text}` for a file to write to: the version is lost, and a file of that name appears",
            "put the requirement in quotes: pip install 'vllm>=…'",
            cut[0].at,
        )


def _installs(words: tuple[str, ...], name: str) -> bool:
    by_name = name in INSTALLERS or (name == "uv" and words[1:2] == ("pip",))
    by_module = words[1:3] == ("-m", "pip")
    return (by_name or by_module) and "install" in words


def _too_old(what: str, *at: Evidence) -> Finding:
    return finding(
        "W5",
        f"`{what}` is from before vLLM {OLDEST[0]}.{OLDEST[1]}: other options and metrics than today's, fewer models and tool parsers",
        MEND,
        *at,
    )


def _old(found: re.Match[str]) -> bool:
    return (int(found[1]), int(found[2])) < OLDEST


def _old_python(recipe: Recipe) -> Iterator[Finding]:
    """A Python that today's vLLM does not take, in an image that installs it."""
    installs = [one for one in recipe.runs if any("vllm" in word.text for word in one.words)]
    if not installs:
        return
    named = [(word.text, word.at) for run in recipe.runs for word in run.words]
    if recipe.base:
        named.append((recipe.image, recipe.base))
    for text, at in named:
        found = _PYTHON.fullmatch(text)
        if found and (int(found[1]), int(found[2])) < PYTHON:
            wrong = f"`{text}`: vLLM {VERSION} needs Python 3.{PYTHON[1]} or later, so pip goes back to an old release"
            yield finding("W5", wrong, MEND, at)


RULE = Rule(
    row="W5",
    title="a vLLM release from before today's models, or a Python that holds it back",
    today=f"vLLM {VERSION}, Python ≥ 3.{PYTHON[1]}, its own torch; best the upstream image by digest",
    reads="Dockerfile, shell, requirements files, compose",
    look=look,
)
