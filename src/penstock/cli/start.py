"""What `penstock up` starts: the configuration it comes to, written where the gateway reads it.

`--model` means the embedded engine with that model and nothing else; without it, everything load() knows counts: a file,
the environment, engines on this machine, the bundled model.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from pathlib import Path
from typing import Final

import msgspec
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.text import Text

from penstock.address import parse_address
from penstock.cli.config_file import config_file
from penstock.cli.screen import err, step
from penstock.config import GUIDE, Alias, Backend, Config, Loaded, Target
from penstock.config_text import as_yaml
from penstock.consistency import mistakes_of
from penstock.engine.choice import chosen_file, is_path
from penstock.errors import ConfigError
from penstock.gateway.discover import models
from penstock.gateway.listen import bind
from penstock.shape import dotted
from penstock.sources import load
from penstock.types import Kind

FOLDER: Final = Path("state")
WRITTEN: Final = FOLDER / "up.yaml"
LOG: Final = FOLDER / "up.log"
SLOTS: Final = 4
NOT_ENGINES: Final = ("PENSTOCK_LISTEN", "PENSTOCK_STATE", "OLLAMA_ORIGINS")
"""The names in the environment that say something else than which engines to use."""


def configured(model: str | None, port: int | None) -> Loaded:
    """The tree to start with; every address in it is free when this returns."""
    if model is None:
        with step("looking for engines on this machine"):
            loaded = load(config_file(None), os.environ, models)
    else:
        loaded = _embedded(model)
    config = _listening(loaded.config, port)
    _refuse_second(Path(config.admin))
    for taken in bind((*config.listen, *config.listen_metrics), takeover=False):
        taken.close()
    return msgspec.structs.replace(loaded, config=config)


def _refuse_second(admin: Path) -> None:
    """A gateway that runs in this folder keeps its files: nothing is written over before this was asked."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(admin))
        except OSError:
            return
        process = ""
        if sys.platform == "linux":
            pid, _, _ = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            process = f" (process {pid})"
    raise ConfigError(
        f"Starting in {Path.cwd()}: a gateway{process} runs in this folder, its admin socket is {admin}.",
        hint="Ask that one (`penstock models`), stop it, or start this one in another folder.",
    )


def write(config: Config) -> Path:
    """state/up.yaml, readable by its owner alone."""
    try:
        FOLDER.mkdir(mode=0o700, exist_ok=True)
        WRITTEN.touch(mode=0o600)
        WRITTEN.write_text(f"# Written by `penstock up` at every start.\n{as_yaml(config)}", encoding="utf-8")
    except OSError as problem:
        raise ConfigError(
            f"Writing {WRITTEN.resolve()}: {problem.strerror}.",
            hint="Start `penstock up` in a folder that you may write to.",
        ) from None
    return WRITTEN


def _embedded(model: str) -> Loaded:
    """One embedded backend and one alias. The alias is what was asked for, without a path or an ending."""
    file = GUIDE if model == GUIDE else str(_file(model))
    name = Path(file).stem if is_path(model) else model
    backend = Backend(kind=Kind.EMBEDDED, model=file, slots=SLOTS)
    alias = Alias(targets=(Target(backends=("local",), model=name),))
    bare = load(None, {name: os.environ[name] for name in NOT_ENGINES if name in os.environ})
    config = msgspec.structs.replace(bare.config, backends={"local": backend}, aliases={name: alias})
    for path, text in mistakes_of(config):
        raise ConfigError(f"Serving {model}: {dotted(path)}: {text}.", hint="Rename the file, then try again.")
    return Loaded(config=config, origin={}, notes=bare.notes)


def _file(model: str) -> Path:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task(f"downloading {model}", total=None, visible=False)

        def tell(here: int, whole: int) -> None:
            progress.update(task, completed=here, total=whole or None, visible=True)

        if not err.is_terminal and not is_path(model):
            err.print(Text(f"· looking for {model} in the cache and on the hub"))
        return chosen_file(model, os.environ, tell)


def _listening(config: Config, port: int | None) -> Config:
    """With `--port` in place of the first address' port."""
    if port is None:
        return config
    first, *others = config.listen
    listen = (str(parse_address(first)._replace(port=port)), *others)
    changed = msgspec.structs.replace(config, listen=listen)
    for _, text in mistakes_of(changed):
        raise ConfigError(f"Listening on {', '.join(listen)}: {text}.", hint="Choose another --port.")
    return changed
