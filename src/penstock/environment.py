"""The names that the documents promise to be understood in the environment, mapped onto the tree.

They describe one engine, perhaps with Ollama behind it, and one model. They count only where the file gives neither
backends nor aliases; docs/reference/environment.md is this file as a table. Nothing here does I/O: which models an engine
serves is asked through a function passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from penstock.address import Address, base_url, ollama_url, url_address
from penstock.errors import ConfigError
from penstock.model_names import other_names, tag_of
from penstock.shape import Path, Plain
from penstock.types import Kind

Ask: TypeAlias = Callable[[Kind, str], tuple[str, ...]]
"""Which models does the engine of this kind at this URL serve? Empty: nobody answers there, or it is one of us."""

ENGINE_URLS = ("VLLM_URL", "VLLM_HOST", "OPENAI_BASE_URL", "OPENAI_API_BASE")
OLLAMA_URLS = ("VLLM_FALLBACK", "OLLAMA_HOST")
FLAGS = ("USE_VLLM", "LLM_PROVIDER")
NAMES = (*FLAGS, *ENGINE_URLS, "VLLM_MODEL", *OLLAMA_URLS, "OPENAI_API_KEY")

DEFAULT_VLLM = "http://vllm-server:8000"
"""Where USE_VLLM=true expects vLLM when no name says where (S1.19)."""
DEFAULT_OLLAMA = "http://127.0.0.1:11434"
DEFAULT_MODELS = {
    Kind.VLLM: "meta-llama/Meta-Llama-3.1-8B-Instruct",  # S1.19
    Kind.OPENAI: "meta-llama/Meta-Llama-3-8B-Instruct",  # S0.8
    Kind.OLLAMA: "llama3.1:8b",  # S1.11
}
USUAL_PLACES = ((Kind.OLLAMA, DEFAULT_OLLAMA), (Kind.VLLM, "http://127.0.0.1:8001"))
"""Where a start with nothing configured looks. Ollama first: that is what the documents start with (X3)."""

_YES = frozenset({"true", "1", "yes", "on"})
_NO = frozenset({"false", "0", "no", "off"})


class Mapped(NamedTuple):
    """Backends and aliases as a file would give them, and where each value came from."""

    data: dict[str, Plain]
    origin: dict[Path, str]
    notes: tuple[str, ...] = ()


class _Engine(NamedTuple):
    """One engine and the name or default that brought it in."""

    kind: Kind
    url: str
    source: str
    key_env: str = ""
    implied: bool = False


class _Model(NamedTuple):
    name: str
    source: str
    tag: bool = False
    """Whether Ollama itself calls it so."""


def described(environ: Mapping[str, str], listen: Sequence[Address], ask: Ask | None) -> Mapped | None:
    """Backends and aliases from the documents' names; None where none of them names an engine."""
    wanted, flag = wants_vllm(environ)
    main = _main_engine(environ, wanted=wanted, flag=flag)
    spare = _spare_engine(environ, listen, main=main, wanted=wanted, flag=flag)
    engines = [engine for engine in (main, spare) if engine]
    if not engines:
        return None
    notes = []
    unused = [name for name in ENGINE_URLS if environ.get(name)] if wanted is False else []
    if unused:
        notes.append(f"{', '.join(unused)} in the environment: not used, because {flag} asks for Ollama")
    tree = _Tree()
    for engine in engines:
        tree.backend(engine)
    models = _models(environ, engines[0], ask)
    for model in models:
        notes += _alias(tree, model, engines)
    for model in models:  # after all of them, because a name of its own goes before a further name of another
        tree.also(model.name, other_names(model.name))
    return Mapped(tree.data, tree.origin, tuple(notes))


def found(listen: Sequence[Address], ask: Ask | None) -> Mapped | None:
    """What answers at the usual places of this machine, but never ourselves; None where nothing does."""
    tree = _Tree()
    for kind, url in USUAL_PLACES:
        if ask is None or any(own.reaches(url_address(url)) for own in listen):
            continue
        models = ask(kind, url)
        if models:
            tree.backend(_Engine(kind, url, f"found at {url}"))
        for model in models:
            tree.target(model, kind, model, f"found at {url}")
    return Mapped(tree.data, tree.origin) if tree.backends else None


def wants_vllm(environ: Mapping[str, str]) -> tuple[bool | None, str]:
    """Whether vLLM is wanted, None where nothing says so; and the name and value that says it."""
    said: dict[str, bool] = {}
    text = environ.get("USE_VLLM", "").strip().lower()
    if text:
        if text not in _YES | _NO:
            raise _wrong("USE_VLLM", text, "true, 1, yes or on; false, 0, no or off")
        said[f"USE_VLLM={text}"] = text in _YES
    text = environ.get("LLM_PROVIDER", "").strip().lower()
    if text:
        if text not in {"vllm", "ollama"}:
            raise _wrong("LLM_PROVIDER", text, "vllm or ollama")
        said[f"LLM_PROVIDER={text}"] = text == "vllm"
    if len(set(said.values())) > 1:
        raise ConfigError(
            f"The environment contradicts itself: {' and '.join(said)}.", hint="Set one of the two, or both alike."
        )
    return next(((value, name) for name, value in said.items()), (None, ""))


def _main_engine(environ: Mapping[str, str], *, wanted: bool | None, flag: str) -> _Engine | None:
    if wanted is False:
        return None
    urls = agreed_url(environ, ENGINE_URLS)
    if not urls:
        if not wanted:
            return None
        if not flag.startswith("USE_VLLM"):
            raise ConfigError(
                f"{flag} asks for vLLM, but nothing says where it is.", hint="Set VLLM_URL=http://host:8000"
            )
        return _Engine(Kind.VLLM, DEFAULT_VLLM, "the documents' default for VLLM_HOST")
    plain = not wanted and not any(name.startswith("VLLM") for name in urls)
    # A key in the environment belongs to the URL of its own family; it is never sent to an engine that others name.
    keyed = any(name.startswith("OPENAI") for name in urls) and environ.get("OPENAI_API_KEY")
    name, url = next(iter(urls.items()))
    kind = Kind.OPENAI if plain else Kind.VLLM
    return _Engine(kind, url, f"environment {name}", key_env="OPENAI_API_KEY" if keyed else "")


def _spare_engine(
    environ: Mapping[str, str], listen: Sequence[Address], *, main: _Engine | None, wanted: bool | None, flag: str
) -> _Engine | None:
    urls = agreed_url(environ, OLLAMA_URLS)
    if urls:
        name, url = next(iter(urls.items()))
        return _Engine(Kind.OLLAMA, url, f"environment {name}")
    if wanted is False:
        return _Engine(Kind.OLLAMA, DEFAULT_OLLAMA, f"the default place of Ollama, asked for by {flag}")
    usual = url_address(DEFAULT_OLLAMA)
    if main and flag.startswith("USE_VLLM") and not any(own.reaches(usual) for own in listen):
        source = f"the default place of Ollama, the safety net of {flag}"
        return _Engine(Kind.OLLAMA, DEFAULT_OLLAMA, source, implied=True)
    return None


def agreed_url(environ: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    """The normal form of the one URL that all the names that are set must agree on."""
    urls: dict[str, str] = {}
    for name in names:
        text = environ.get(name, "").strip()
        if text:
            try:
                urls[name] = ollama_url(text) if name == "OLLAMA_HOST" else base_url(text)
            except ValueError as expected:
                raise _wrong(name, text, str(expected)) from None
    if len(set(urls.values())) > 1:
        told = " and ".join(f"{name}={environ[name]}" for name in urls)
        raise ConfigError(
            f"The environment names two different engines for one place: {told}.",
            hint="Set one of them, set them alike, or give both engines in a penstock.yaml.",
        )
    return urls


def _models(environ: Mapping[str, str], engine: _Engine, ask: Ask | None) -> list[_Model]:
    """The models to offer: what the environment names, else what the engine says, else the documents' default."""
    named = environ.get("VLLM_MODEL", "").strip()
    if named:
        return [_Model(named, "environment VLLM_MODEL")]
    served = ask(engine.kind, engine.url) if ask else ()
    if served:
        tag = engine.kind is Kind.OLLAMA
        return [_Model(name, f"served at {engine.url}", tag=tag) for name in served]
    return [_Model(DEFAULT_MODELS[engine.kind], "the documents' default for VLLM_MODEL")]


def _alias(tree: _Tree, model: _Model, engines: Sequence[_Engine]) -> list[str]:
    """One alias over the engines; notes where an engine had to be left out."""
    notes = []
    for engine in engines:
        name = model.name if model.tag or engine.kind is not Kind.OLLAMA else tag_of(model.name)
        if name:
            tree.target(model.name, engine.kind, name, model.source)
        elif model.source == "environment VLLM_MODEL" and not engine.implied:
            raise ConfigError(
                f"VLLM_MODEL={model.name}: nothing says what this model is called in Ollama at {engine.url}.",
                hint="Give both names in a penstock.yaml: aliases, targets, model.",
            )
        else:
            notes.append(f"{model.name} has no fallback: nothing says what Ollama at {engine.url} calls it")
    return notes


class _Tree:
    """Backends and aliases under construction, each value beside its origin."""

    def __init__(self) -> None:
        self.backends: dict[str, Plain] = {}
        self.aliases: dict[str, dict[str, Plain]] = {}
        self.origin: dict[Path, str] = {}

    @property
    def data(self) -> dict[str, Plain]:
        return {"backends": self.backends, "aliases": dict(self.aliases)}

    def backend(self, engine: _Engine) -> None:
        entry: dict[str, Plain] = {"kind": engine.kind.value, "url": engine.url}
        if engine.key_env:
            entry["key_env"] = engine.key_env
        self.backends[engine.kind.value] = entry
        self.origin[("backends", engine.kind.value)] = engine.source
        if engine.key_env:
            self.origin[("backends", engine.kind.value, "key_env")] = f"environment {engine.key_env}"

    def target(self, alias: str, kind: Kind, model: str, source: str) -> None:
        targets = self.aliases.setdefault(alias, {"targets": []})["targets"]
        if isinstance(targets, list):
            targets.append({"backends": [kind.value], "model": model})
        self.origin.setdefault(("aliases", alias), source)

    def also(self, alias: str, names: Sequence[str]) -> None:
        taken = {name for entry in self.aliases.values() for name in _strings(entry.get("also"))} | set(self.aliases)
        free = [name for name in names if name not in taken]
        if free and alias in self.aliases:
            self.aliases[alias]["also"] = list[Plain](free)
            self.origin[("aliases", alias, "also")] = "other names of the same model"


def _strings(value: Plain) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _wrong(name: str, value: str, expected: str) -> ConfigError:
    return ConfigError(f"{name}={value} in the environment cannot be used.", hint=f"It expects {expected}.")
