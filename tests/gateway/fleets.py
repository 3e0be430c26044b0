"""Fleets whose backends are looked at when a test says so, and not by a clock."""

from __future__ import annotations

from penstock.config import Alias, Backend, Config, Fallback, Target
from penstock.gateway import backend as one_backend
from penstock.gateway import fleet
from penstock.gateway.probe import Model, Sighting
from penstock.types import Kind

NOWHERE = "http://127.0.0.1:9"


def config(backends: dict[str, Backend], targets: list[tuple[list[str], str]], fallback: Fallback = "any") -> Config:
    """One alias `a` over these targets."""
    alias = Alias(
        targets=tuple(Target(backends=tuple(names), model=model) for names, model in targets), fallback=fallback
    )
    return Config(backends=backends, aliases={"a": alias})


class Still(fleet.Fleet):
    """A fleet that nobody probes; its states are set by the test, or by one look."""

    def __init__(self, settings: Config) -> None:
        super().__init__(settings)
        for name, one in settings.backends.items():
            self.backends[name] = one_backend.Backend(name, one, settings.limits.connect, self.changed)

    def changed(self) -> None:
        self.generation += 1

    async def look(self) -> None:
        """One real look at every backend."""
        for backend in self.backends.values():
            await backend.probe()

    def up(self, name: str, *models: str) -> None:
        """As if a look had found these models."""
        backend = self.backends[name]
        backend.sighting = Sighting({model: Model(id=model) for model in models})
        backend.state, backend.reason = one_backend.State.READY, ""
        self.changed()

    def close(self) -> None:
        for backend in self.backends.values():
            if backend.origin is not None:
                backend.origin.close()


def vllm(url: str = NOWHERE) -> Backend:
    return Backend(kind=Kind.VLLM, url=url)


def ollama(url: str = NOWHERE) -> Backend:
    return Backend(kind=Kind.OLLAMA, url=url)
