"""`docker run …` as a service. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from penstock.rules.material import Port, Service, Setting, Word
from penstock.rules.reading.compose import port
from penstock.rules.reading.flags import base, program

ENGINES: Final = frozenset({"docker", "podman", "nerdctl"})
ALONE: Final = frozenset(
    {
        "--rm",
        "--detach",
        "--init",
        "--interactive",
        "--tty",
        "--privileged",
        "--read-only",
        "--publish-all",
        "--no-healthcheck",
        "-d",
        "-i",
        "-t",
        "-it",
        "-ti",
        "-dit",
        "-itd",
        "-P",
    }
)
"""Options of docker run that take no value."""


def docker_run(words: Sequence[Word]) -> Service | None:
    """The container that this command starts; None where it starts none."""
    for found in program(words):
        if base(found[0]) in ENGINES and len(found) > 2 and found[1].text in {"run", "create"}:
            return _service(found[2:])
        if base(found[0]) in ENGINES and [word.text for word in found[1:3]] == ["container", "run"]:
            return _service(found[3:])
    return None


def _service(words: Sequence[Word]) -> Service | None:
    options: list[tuple[str, Word]] = []
    place = 0
    while place < len(words) and words[place].text.startswith("-"):
        name, equals, value = words[place].text.partition("=")
        if equals:
            options.append((name, Word(text=value, at=words[place].at)))
        elif name not in ALONE and place + 1 < len(words):
            place += 1
            options.append((name, words[place]))
        place += 1
    if place >= len(words):
        return None
    named = {name: word.text for name, word in options}
    entrypoint = [word for name, word in options if name == "--entrypoint"]
    return Service(
        name=named.get("--name", ""),
        kind="docker run",
        at=words[place].at,
        image=words[place].text,
        entrypoint=tuple(entrypoint[-1:]),
        arguments=tuple(words[place + 1 :]),
        settings=tuple(_setting(word) for name, word in options if name in {"-e", "--env"}),
        env_files=tuple(word.text for name, word in options if name == "--env-file"),
        open_at=tuple(word.at for name, word in options if name in {"--network", "--net"} and word.text == "host"),
        ports=tuple(found for name, word in options if name in {"-p", "--publish"} and (found := _port(word))),
    )


def _setting(word: Word) -> Setting:
    name, equals, value = word.text.partition("=")
    return Setting(name=name, value=value if equals else f"${{{name}}}", at=word.at)


def _port(word: Word) -> Port | None:
    return port(word.text, word.at)
