"""Which engines a backend of the configuration stands for: itself, or the replicas that a file, an order or a name gives. Pure.

A backend is one URL. The fleet file may give it several instead, and with `resolve: each` every address of a URL's host is
an engine of its own. Each of these replicas is a backend like any other, named after the one it stands for and a digest of
its URL: the same in every worker and after a restart, and it tells callers no address.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import urlsplit

import msgspec
import xxhash

from penstock.address import Address, base_url, parse_address, url_address
from penstock.config import Backend, Config
from penstock.errors import BadRequest
from penstock.shape import nearest
from penstock.types import Kind

MOST = 256
"""Replicas of one backend: more addresses behind a name are a mistake, or an attack."""

Lists = Mapping[str, tuple[str, ...]]
"""URLs by the backend that they stand for."""
Found = Mapping[str, tuple[str, ...]]
"""Addresses by host name, as they were resolved last."""


def expanded(config: Config, lists: Lists, found: Found) -> dict[str, dict[str, Backend]]:
    """The replicas of every backend, by name. Each has at least one: what has no address yet stands for itself."""
    own = _own(config)
    result: dict[str, dict[str, Backend]] = {}
    for name, backend in config.backends.items():
        urls = lists.get(name, (backend.url,)) if backend.kind is not Kind.EMBEDDED else ("",)
        if backend.resolve == "each":
            urls = tuple(each for url in urls for each in _addressed(url, found, own)) or (backend.url,)
        result[name] = {
            _name(name, url, backend): msgspec.structs.replace(backend, url=url) if url != backend.url else backend
            for url in dict.fromkeys(urls[:MOST])
        }
    return result


def hosts(config: Config, lists: Lists) -> frozenset[str]:
    """The host names whose addresses matter: those of engines that are not given by an address."""
    urls = [url for name, one in config.backends.items() for url in lists.get(name, (one.url,)) if url]
    return frozenset(host for url in urls if (host := named(url)))


def named(url: str) -> str:
    """The host name in a URL; empty where an address stands there."""
    host = urlsplit(url).hostname or ""
    return "" if host == "localhost" or ":" in host or host.replace(".", "").isdigit() else host


def with_replica(config: Config, lists: Lists, name: str, url: str) -> Lists:
    """The lists with one URL more; `BadRequest` where it cannot be."""
    backend, now = _standing(config, lists, name, "Adding")
    url = checked(config, url, f"Adding a replica of {name}")
    if backend.url.startswith("https:") and not url.startswith("https:"):
        raise BadRequest(
            f"Adding a replica of {name}: {url} would be asked in plain text.", hint="Its backend is asked over https."
        )
    if url in now:
        raise BadRequest(
            f"Adding a replica of {name}: {url} is one already.", hint="`penstock replicas list` shows all."
        )
    if len(now) >= MOST:
        raise BadRequest(f"Adding a replica of {name}: it has {len(now)} already.", hint=f"{MOST} is the limit.")
    if backend.resolve == "each" and not named(url):
        raise BadRequest(
            f"Adding a replica of {name}: {url} has no name to resolve.", hint="`resolve: each` takes host names."
        )
    return {**lists, name: (*now, url)}


def without_replica(config: Config, lists: Lists, name: str, which: str) -> Lists:
    """The lists without the replica of this URL or name; `BadRequest` where there is none, or it is the last."""
    backend, now = _standing(config, lists, name, "Removing")
    wanted = which.rstrip("/").removesuffix("/v1")
    rest = tuple(url for url in now if wanted not in {url, _name(name, url, backend)})
    if len(rest) == len(now):
        known = ", ".join(f"{_name(name, url, backend)} ({url})" for url in now)
        raise BadRequest(f"Removing a replica of {name}: {which!r} is none of its own.", hint=f"It has: {known}.")
    if not rest:
        raise BadRequest(
            f"Removing a replica of {name}: {which!r} is the last one.",
            hint="Add another first; a backend as a whole is taken out in penstock.yaml.",
        )
    return {**lists, name: rest}


def checked(config: Config, text: str, doing: str) -> str:
    """A replica's URL in its normal form; `BadRequest` for what is none, or leads to ourselves."""
    try:
        url = base_url(text)
    except ValueError as expected:
        raise BadRequest(f"{doing}: expects {expected}, not {text!r}.") from None
    if any(address.reaches(url_address(url)) for address in _own(config)):
        raise BadRequest(f"{doing}: {url} is where this gateway itself listens.", hint="Give the engine's own address.")
    return url


def misfit(name: str, url: str, why: str) -> BadRequest:
    """The refusal of what answers there and does not belong to this backend."""
    return BadRequest(f"Adding {url} to {name}: {why}.", hint="`penstock doctor` says what answers at a URL.")


def _standing(config: Config, lists: Lists, name: str, doing: str) -> tuple[Backend, tuple[str, ...]]:
    backend = config.backends.get(name)
    if backend is None:
        raise BadRequest(
            f"{doing} a replica: {name!r} is no backend of penstock.yaml.", hint=nearest(name, list(config.backends))
        )
    if backend.kind is Kind.EMBEDDED:
        raise BadRequest(
            f"{doing} a replica of {name}: it is embedded, and Penstock starts it itself.", hint="Give it more `slots`."
        )
    return backend, lists.get(name, (backend.url,))


def _addressed(url: str, found: Found, own: Iterable[Address]) -> Iterator[str]:
    """This URL for each address of its host, but never one of ours."""
    parts = urlsplit(url)
    port = url_address(url).port
    for address in sorted(found.get(parts.hostname or "", ())):
        if not any(one.reaches(Address(address, port)) for one in own):
            yield f"{parts.scheme}://{Address(address, port)}{parts.path}"


def _name(name: str, url: str, backend: Backend) -> str:
    return name if url in {backend.url, ""} else f"{name}-{xxhash.xxh3_64_intdigest(url) & 0xFFFFFFFF:08x}"


def _own(config: Config) -> list[Address]:
    return [parse_address(text) for text in (*config.listen, *config.listen_metrics)]
