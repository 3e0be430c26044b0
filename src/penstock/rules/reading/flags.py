"""Which program a command starts behind its wrappers, and the options that vLLM is given. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from penstock.rules.finding import Evidence
from penstock.rules.material import Setting, Word
from penstock.rules.reading.shell import ASSIGNMENT, script
from penstock.rules.reading.text import Text
from penstock.rules.reading.variables import Expanded, expand

WRAPPERS: Final = frozenset(
    {
        "exec",
        "nohup",
        "sudo",
        "env",
        "nice",
        "ionice",
        "time",
        "timeout",
        "tini",
        "dumb-init",
        "stdbuf",
        "setsid",
        "numactl",
    }
)
RUNNERS: Final = frozenset({"uv", "poetry", "pipenv", "pdm", "conda", "hatch"})
SHELLS: Final = frozenset({"sh", "bash", "dash", "zsh", "ash"})
MODULES: Final = ("vllm.entrypoints.openai.api_server", "vllm.entrypoints.api_server")
"""What `python -m` starts a server with, of old and still."""
SERVE: Final = "serve"
MANY: Final = frozenset({"--served-model-name", "--lora-modules", "--api-key"})
"""Options that take every word up to the next option."""

_COUNT = re.compile(r"[\d.]+[smhd]?")


class Flag(msgspec.Struct, frozen=True):
    """One option of a command line, its name with dashes as vLLM compares it."""

    name: str
    given: Expanded
    at: Evidence

    @property
    def value(self) -> str:
        return self.given.text


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """A command line of vLLM's."""

    verb: str
    """The subcommand, or the module that `python -m` runs."""
    flags: tuple[Flag, ...]
    model: Flag | None = None
    """What is served: --model, or the word after `serve`."""
    at: Evidence

    @property
    def serves(self) -> bool:
        return self.verb == SERVE or self.verb in MODULES

    def flag(self, *names: str) -> Flag | None:
        """The last of these that is given, as an argument parser has it."""
        return next((flag for flag in reversed(self.flags) if flag.name in names), None)


def program(words: Sequence[Word]) -> Iterator[tuple[Word, ...]]:
    """The command itself: without wrappers, and what stands in `sh -c '…'` as commands of its own."""
    rest = list(words)
    while rest and (_wraps(rest) or ASSIGNMENT.fullmatch(rest[0].text)):
        rest = _unwrapped(rest)
    inside = _executed(rest)
    if inside:
        yield from program(inside)
        return
    if not rest:
        return
    if base(rest[0]) in SHELLS:
        inner = next((place for place, word in enumerate(rest) if re.fullmatch(r"-[a-z]*c", word.text)), None)
        if inner is not None and inner + 1 < len(rest):
            yield from _inside(rest[inner + 1])
            return
    yield tuple(rest)


def _inside(word: Word) -> Iterator[tuple[Word, ...]]:
    """The commands in a word; in one of several lines each keeps its own line."""
    text = Text(word.at.file, word.text, word.first or word.at.line)
    for command in script(text).commands:
        yield from program(command.words if word.first else [Word(text=one.text, at=word.at) for one in command.words])


def _executed(words: Sequence[Word]) -> Sequence[Word]:
    """What is run in another container: `kubectl exec POD -- …`, `docker exec NAME …`, `docker compose exec SERVICE …`."""
    texts = [word.text for word in words]
    if not texts or base(words[0]) not in {"kubectl", "oc", "docker", "podman"} or "exec" not in texts:
        return ()
    if "--" in texts:
        return words[texts.index("--") + 1 :]
    rest = words[texts.index("exec") + 1 :]
    while rest and rest[0].text.startswith("-"):
        rest = rest[1:]
    return rest[1:]


def _wraps(words: Sequence[Word]) -> bool:
    return base(words[0]) in WRAPPERS or (base(words[0]) in RUNNERS and len(words) > 1 and words[1].text == "run")


def _unwrapped(words: list[Word]) -> list[Word]:
    """Without the wrapper, its options and its counts (`nice -n 10`, `timeout 5m`)."""
    rest = words[2:] if base(words[0]) in RUNNERS else words[1:]
    while rest and (rest[0].text.startswith("-") or _COUNT.fullmatch(rest[0].text)):
        rest = rest[1:]
    return rest


def base(word: Word) -> str:
    """The name of a program without its folder."""
    return word.text.rpartition("/")[2]


def is_python(word: Word) -> bool:
    return re.fullmatch(r"python[\d.]*", base(word)) is not None


def launch(words: Sequence[Word], known: Mapping[str, Setting]) -> Launch | None:
    """The command as one of vLLM's; None where it is another program's."""
    for found in program(words):
        if base(found[0]) == "vllm" and len(found) > 1:
            return arguments(found[1].text, found[2:], known, found[0].at)
        module = _module(found)
        if module is not None and module.text in MODULES:
            return arguments(module.text, found[found.index(module) + 1 :], known, found[0].at)
    return None


def _module(words: Sequence[Word]) -> Word | None:
    if not is_python(words[0]):
        return None
    place = next((index for index, word in enumerate(words) if word.text == "-m"), len(words))
    return words[place + 1] if place + 1 < len(words) else None


def arguments(verb: str, words: Sequence[Word], known: Mapping[str, Setting], at: Evidence) -> Launch:
    """A launch from the words behind the verb."""
    flags, positional = _flags(words, known)
    model = next((flag for flag in reversed(flags) if flag.name == "--model"), None)
    if model is None and positional and verb == SERVE:
        given = expand(positional[0].text, known)
        model = Flag("--model", given, positional[0].at)
    return Launch(verb=verb, flags=tuple(flags), model=model, at=at)


def _flags(words: Sequence[Word], known: Mapping[str, Setting]) -> tuple[list[Flag], list[Word]]:
    flags: list[Flag] = []
    positional: list[Word] = []
    place = 0
    while place < len(words):
        word = words[place]
        place += 1
        if not word.text.startswith("-"):
            positional.append(word)
            continue
        name, equals, value = word.text.partition("=")
        values = [value] if equals else []
        most = len(words) if name in MANY else 1
        while len(values) < most and place < len(words) and not words[place].text.startswith("-"):
            values.append(words[place].text)
            place += 1
        if name.startswith("--"):
            flags.append(Flag(name.replace("_", "-"), expand(" ".join(values), known), word.at))
    return flags, positional
