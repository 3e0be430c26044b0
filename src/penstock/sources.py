"""Where values come from: the file, PENSTOCK_* names, the documents' names, engines found, the bundled model.

That is also the order of precedence, first wins. Reads one file and nothing else; it knows no engine and no socket. What
the values mean together is consistency.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from penstock import environment, environment_otel
from penstock.address import Address, parse_address
from penstock.config import GUIDE, LISTEN, Config, Loaded
from penstock.consistency import mistakes_of, notes_of, unsendable_keys
from penstock.environment import Ask, Mapped
from penstock.errors import ConfigError
from penstock.shape import Mistake, Plain, check, dotted
from penstock.shape import Path as Where
from penstock.yaml_file import Placed, read_yaml

ENVIRONMENT = "environment "
"""How the origin of a value begins that a name in the environment gave."""
OWN_NAMES = ("PENSTOCK_CONFIG", "PENSTOCK_LISTEN", "PENSTOCK_STATE")


class _Draft(NamedTuple):
    """Plain values on their way into the tree, and the origin of each."""

    data: dict[str, Plain]
    origin: dict[Where, str]
    notes: list[str]

    def give(self, key: str, value: Plain, origin: str) -> None:
        self.data[key] = value
        self.origin[(key,)] = origin


def load(path: Path | None, environ: Mapping[str, str], ask: Ask | None = None) -> Loaded:
    """The whole configuration, or a ConfigError that names every mistake.

    Without `path`, PENSTOCK_CONFIG names the file; without either there is none. `ask` is used to find out what engines
    serve where neither file nor environment says so; without it nothing is asked and nothing is found.
    """
    named = environ.get("PENSTOCK_CONFIG")
    file = path or (Path(named) if named else None)
    placed = read_yaml(file) if file else Placed({}, {})
    draft = _Draft(dict(placed.data), dict(placed.origin), [])
    _own_names(draft, environ)
    _engines(draft, environ, ask, file)
    _origins(draft, environ)
    _embedded(draft)
    _otel(draft, environ)
    return _finished(draft, environ, what=str(file) if file else "The environment")


def _own_names(draft: _Draft, environ: Mapping[str, str]) -> None:
    values: dict[str, Plain] = {}
    if listen := environ.get("PENSTOCK_LISTEN", "").strip():
        values["listen"] = list[Plain](_commas(listen))
    if state := environ.get("PENSTOCK_STATE", "").strip():
        values["state"] = state
    for key, value in values.items():
        name = f"PENSTOCK_{key.upper()}"
        if key in draft.data:
            draft.notes.append(f"{name} in the environment: not used, {draft.origin[(key,)]} gives {key}")
        else:
            draft.give(key, value, f"environment {name}")


def _engines(draft: _Draft, environ: Mapping[str, str], ask: Ask | None, file: Path | None) -> None:
    """Backends and aliases: the file's, or the documents' names, or what is found, or the bundled model."""
    if "backends" in draft.data or "aliases" in draft.data:
        unused = [name for name in environment.NAMES if environ.get(name) and name != "OPENAI_API_KEY"]
        if unused:
            draft.notes.append(f"{', '.join(unused)} in the environment: not used, {file} gives the engines")
        return
    listen = _listeners(draft.data.get("listen"))
    mapped = environment.described(environ, listen, ask) or environment.found(listen, ask) or _guide()
    draft.data.update(mapped.data)
    draft.origin.update(mapped.origin)
    draft.notes.extend(mapped.notes)


def _guide() -> Mapped:
    """The bundled model in the embedded engine: what a start with nothing configured and nothing found serves."""
    return Mapped(
        {
            "backends": {"local": {"kind": "embedded"}},
            "aliases": {GUIDE: {"targets": [{"backends": ["local"], "model": GUIDE}]}},
        },
        {("backends",): "the bundled model", ("aliases",): "the bundled model"},
    )


def _origins(draft: _Draft, environ: Mapping[str, str]) -> None:
    """OLLAMA_ORIGINS adds to `cors`, whoever gives that."""
    added = _commas(environ.get("OLLAMA_ORIGINS", ""))
    present = draft.data.get("cors", [])
    if not added or not isinstance(present, list):
        return
    new = [origin for origin in added if origin not in present]
    draft.data["cors"] = [*present, *new]
    for index in range(len(present), len(present) + len(new)):
        draft.origin[("cors", index)] = "environment OLLAMA_ORIGINS"


def _embedded(draft: _Draft) -> None:
    """What an embedded backend leaves out has other defaults than that of a server elsewhere."""
    backends = draft.data.get("backends")
    if not isinstance(backends, dict):
        return
    for name, entry in backends.items():
        if isinstance(entry, dict) and entry.get("kind") == "embedded":
            defaults: dict[str, Plain] = {"model": GUIDE, "slots": 4}
            for key in defaults.keys() - entry.keys():
                draft.origin[("backends", name, key)] = "default"
            backends[name] = {**defaults, **entry}


def _otel(draft: _Draft, environ: Mapping[str, str]) -> None:
    """OpenTelemetry's own names, where the file does not say where to export to."""
    if "otel" in draft.data:
        if environ.get(environment_otel.ENDPOINT):
            where = draft.origin.get(("otel",), "the file")
            draft.notes.append(f"{environment_otel.ENDPOINT} in the environment: not used, {where} gives otel")
        return
    found = environment_otel.exported(environ)
    if found is not None:
        values, names = found
        draft.give("otel", values, f"{ENVIRONMENT}{environment_otel.ENDPOINT}")
        draft.origin.update({("otel", key): f"{ENVIRONMENT}{name}" for key, name in names.items()})


def _finished(draft: _Draft, environ: Mapping[str, str], *, what: str) -> Loaded:
    clean, mistakes = check(draft.data, Config)
    if mistakes:
        raise _unusable(what, mistakes, draft.origin)
    config = msgspec.convert(clean, Config)
    mistakes = [*mistakes_of(config), *unsendable_keys(config, environ)]
    if mistakes:
        raise _unusable(what, mistakes, draft.origin)
    leaves = _leaves(msgspec.to_builtins(config), ())
    origin = {
        dotted(path): _nearest_origin(path, draft.origin) if _given(draft.data, path) else "default" for path in leaves
    }
    return Loaded(config=config, origin=origin, notes=(*draft.notes, *notes_of(config, environ)))


def _unusable(what: str, mistakes: list[Mistake], origin: Mapping[Where, str]) -> ConfigError:
    lines = []
    names = set()
    for mistake in mistakes:
        place = _nearest_origin(mistake.path, origin)
        start = f"{place}: " if place != "default" else ""
        lines.append(f"{start}{dotted(mistake.path)}: {mistake.text}" if mistake.path else f"{start}{mistake.text}")
        names |= {place.removeprefix(ENVIRONMENT)} if place.startswith(ENVIRONMENT) else set()
    count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
    hint = "docs/reference/config.md lists every key, and so does `penstock explain-config --schema`."
    if names:
        unset = " ".join(f"-u {name}" for name in sorted(names))
        hint = f"Set it otherwise, or leave it out for this command alone: env {unset} penstock …"
    return ConfigError(f"{what} cannot be used as a configuration, {count}:\n  " + "\n  ".join(lines), hint=hint)


def _nearest_origin(path: Where, origin: Mapping[Where, str]) -> str:
    """The origin of a value: its own, or that of what it stands in."""
    while path and path not in origin:
        path = path[:-1]
    return origin.get(path, "default")


def _given(data: Plain, path: Where) -> bool:
    """Whether somebody gave this value, or whether the tree's default filled it in."""
    for part in path:
        if isinstance(data, dict) and part in data:
            data = data[str(part)]
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            return False
    return True


def _leaves(value: object, path: Where) -> list[Where]:
    """Paths of everything that is neither a mapping nor a list with entries."""
    if isinstance(value, dict) and value:
        return [leaf for name, one in value.items() for leaf in _leaves(one, (*path, name))]
    if isinstance(value, list | tuple) and value:
        return [leaf for index, one in enumerate(value) for leaf in _leaves(one, (*path, index))]
    return [path]


def _listeners(value: Plain) -> list[Address]:
    """Our own addresses as far as they can be read; what cannot is reported later, with everything else."""
    given = value if isinstance(value, list) else list[Plain](LISTEN)
    addresses = []
    for text in given:
        try:
            addresses.append(parse_address(str(text)))
        except ValueError:
            continue
    return addresses


def _commas(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
