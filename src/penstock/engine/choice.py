"""From what a person wrote after --model to a file on this disk: `guide`, a path, or a name on the hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from penstock.engine.guide import GUIDE, model_file
from penstock.engine.hub import fetch, parse_name
from penstock.engine.hub_transfer import Progress
from penstock.errors import ConfigError


def is_path(model: str) -> bool:
    """Whether it has to be a path: it exists, it begins like one, or it names a GGUF file without a repository's colon."""
    if model.startswith(("/", "./", "../", "~")) or Path(model).is_file():
        return True
    return model.lower().endswith(".gguf") and ":" not in model


def chosen_file(model: str, environment: Mapping[str, str], progress: Progress | None = None) -> Path:
    """The file, downloaded first if it has to be. Raises ConfigError when there is none."""
    if model == GUIDE or is_path(model):
        file = model_file(model)
        if file.is_file():
            return file.resolve()
        raise ConfigError(
            f"Loading the model {file}: there is no such file.", hint="Check the path, or use the bundled model: guide."
        )
    name = parse_name(model)
    if name is None:
        raise ConfigError(
            f"Loading the model {model!r}: it is neither `guide`, nor a GGUF file, nor OWNER/NAME on the hub.",
            hint="Use `guide`, the path of a GGUF file, or a name such as OWNER/NAME-GGUF.",
        )
    return fetch(name, environment, progress)
