"""What penstock.yaml says is running: each backend with the models asked of it, and the gateway itself."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from penstock.address import parse_address
from penstock.config import Config
from penstock.doctor.server import Asked, Place
from penstock.gateway.upstream import IDLE
from penstock.sources import load
from penstock.types import Kind


def places(file: Path, asked: Asked) -> list[Place]:
    """Backends that speak OpenAI, asked as the gateway would ask them; then the gateway's first address.

    ConfigError where the file cannot be used.
    """
    config = load(file, os.environ).config
    found = [
        Place(backend.url, _backend(config, name, asked))
        for name, backend in config.backends.items()
        if backend.kind in {Kind.VLLM, Kind.OPENAI}
    ]
    scheme = "https" if config.tls else "http"
    return [*found, *(Place(f"{scheme}://{_reached(listen)}", asked) for listen in config.listen[:1])]


def _backend(config: Config, name: str, asked: Asked) -> Asked:
    """Its models, its key, and the gateway's own pool instead of an application's."""
    models = [target.model for alias in config.aliases.values() for target in alias.targets if name in target.backends]
    key_env = config.backends[name].key_env
    return msgspec.structs.replace(
        asked,
        models=tuple(dict.fromkeys(models)),
        key=os.environ.get(key_env, "") if key_env else "",
        ours=False,
        pool_idle=IDLE,
    )


def _reached(listen: str) -> str:
    address = parse_address(listen)
    return str(address._replace(host="127.0.0.1")) if address.wildcard else str(address)
