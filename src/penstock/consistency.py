"""What must fit together in a tree whose single values are all right.

Every rule is one function from the tree to mistakes; `RULES` is the list of them. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import urlsplit

from penstock.address import Address, parse_address, url_address
from penstock.config import Alias, Config, Shadow, Target
from penstock.config_guardrails import Guardrails
from penstock.patterns import Pattern
from penstock.scopes import aliases_named, problem
from penstock.shape import Mistake, Path, nearest
from penstock.types import Kind

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MODEL_NAME = re.compile(r"[!-~]{1,256}")
_HOST = re.compile(r"(?:\*\.)?[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_KEY = re.compile(r"[!-~]*")
_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.*-]*://[!-.0-~]*")


def mistakes_of(config: Config) -> list[Mistake]:
    """Everything that does not fit together."""
    return [mistake for rule in RULES for mistake in rule(config)]


def unsendable_keys(config: Config, environ: Mapping[str, str]) -> Iterator[Mistake]:
    """Keys that would break out of the header they are sent in; the key itself is never shown."""
    for name, backend in config.backends.items():
        key = environ.get(backend.key_env, "") if backend.key_env else ""
        if not _KEY.fullmatch(key):
            text = f"the key in {backend.key_env} has spaces, line ends or letters beyond ASCII; set it without them"
            yield Mistake(("backends", name, "key_env"), text)


def notes_of(config: Config, environ: Mapping[str, str]) -> Iterator[str]:
    """What is allowed and yet perhaps not meant."""
    used = {one for alias in config.aliases.values() for _, group in _groups(alias) for one in group.backends}
    for name, backend in config.backends.items():
        if name not in used:
            yield f"backend {name} is in no alias' targets: only a canary would ask it"
        elif backend.key_env and not environ.get(backend.key_env):
            yield f"backend {name}: {backend.key_env} is not set in the environment, so no key is sent to it"
    for name, alias in config.aliases.items():
        if alias.fallback == "never" and len(alias.targets) > 1:
            yield f"alias {name}: `fallback: never` leaves every target but the first unused"
        shadow = alias.shadow
        if shadow is not None and any(
            target.model == shadow.model and set(target.backends) & set(shadow.backends) for target in alias.targets
        ):
            yield f"alias {name}: its shadow asks a backend and a model that its targets ask too: they are compared with themselves"


def names_can_travel(config: Config) -> Iterator[Mistake]:
    """Names stand in response headers and metrics, so they hold what can stand there."""
    for table, names in (("backends", config.backends), ("callers", config.callers)):
        for name in names:
            if not _NAME.fullmatch(name):
                text = f"a name has letters, digits, dots, dashes and underscores, at most 64; {name!r} does not fit"
                yield Mistake((table, name), text)
    for name, alias in config.aliases.items():
        also = [(("aliases", name, "also", index), one) for index, one in enumerate(alias.also)]
        paths: list[tuple[Path, str]] = [(("aliases", name), name), *also]
        for path, one in paths:
            if not _MODEL_NAME.fullmatch(one):
                text = f"a model name has no spaces and no letters beyond ASCII, at most 256; {one!r} does not fit"
                yield Mistake(path, text)
        for place, target in _groups(alias):
            # What an engine calls its model is the engine's affair, as long as a header can say it.
            if not target.model.isprintable() or target.model.strip() != target.model:
                text = (
                    f"{target.model!r} has control characters, or spaces around it; write the name as the engine does"
                )
                yield Mistake(("aliases", name, *place, "model"), text)


def backends_are_whole(config: Config) -> Iterator[Mistake]:
    """An embedded engine is ours to start and has no URL; any other has one and chooses its own models."""
    for name, backend in config.backends.items():
        where = ("backends", name)
        if backend.kind is Kind.EMBEDDED:
            if backend.resolve != "any":
                yield Mistake((*where, "resolve"), "does not go with kind embedded: it has no URL")
            for key in ("url", "key_env", "tls"):
                if getattr(backend, key):
                    yield Mistake((*where, key), "does not go with kind embedded: Penstock starts that engine itself")
            continue
        if not backend.url:
            yield Mistake(where, f"lacks the key 'url', which kind {backend.kind} needs")
        certified = backend.tls.name if backend.tls is not None else ""
        if backend.resolve == "each" and backend.url.startswith("https:") and not certified:
            yield Mistake(
                (*where, "resolve"),
                "'each' asks addresses, and a certificate names a host; give that name as tls.name, or use http or 'any'",
            )
        if backend.resolve == "each" and not any(letter.isalpha() for letter in url_address(backend.url).host):
            yield Mistake((*where, "resolve"), f"'each' needs a host name, and {backend.url} has an address")
        if backend.model:
            yield Mistake(
                (*where, "model"), f"does not go with kind {backend.kind}: name the model in an alias' target"
            )


def tls_is_whole(config: Config) -> Iterator[Mistake]:
    """A certificate has its key, a rule about clients' certificates has an authority, and plain http has none of it."""
    if config.tls is not None and config.tls.clients == "optional" and not config.tls.client_ca:
        yield Mistake(("tls", "clients"), "says nothing without client_ca: nobody is asked for a certificate")
    for name, backend in config.backends.items():
        given, where = backend.tls, ("backends", name, "tls")
        if given is None or not backend.url:
            continue
        if not backend.url.startswith("https:"):
            yield Mistake(where, f"goes with https, and {backend.url} is asked in plain text")
        if bool(given.cert) != bool(given.key):
            yield Mistake(where, "has a certificate without its key, or a key without its certificate; give both")


def addresses_are_safe(config: Config) -> Iterator[Mistake]:
    """Without callers only this machine may reach us (X16), and no address is given twice."""
    seen: set[str] = set()
    for key in ("listen", "listen_metrics"):
        for index, text in enumerate(getattr(config, key)):
            address = parse_address(text)
            if address.port and text in seen:
                yield Mistake((key, index), f"{text} is given twice")
            if not address.port and config.workers > 1:
                yield Mistake((key, index), "port 0 would give each of several workers a port of its own; name one")
            seen.add(text)
            if not address.loopback and not config.asks_who:
                yield Mistake(
                    (key, index),
                    f"{text} can be reached from other machines, and no callers are configured, so anybody there could "
                    "use it; add callers, or `auth: {keys: always}`, or listen on 127.0.0.1",
                )


def no_backend_is_us(config: Config) -> Iterator[Mistake]:
    """A gateway that asks itself goes in circles."""
    own = [parse_address(text) for text in (*config.listen, *config.listen_metrics)]
    for name, backend in config.backends.items():
        if backend.url and any(address.reaches(url_address(backend.url)) for address in own):
            yield Mistake(
                ("backends", name, "url"),
                f"{backend.url} is where this gateway itself listens; give the engine another port, or listen elsewhere",
            )


def names_are_unique(config: Config) -> Iterator[Mistake]:
    """One model name leads to one alias."""
    owner = {name: name for name in config.aliases}
    for name, alias in config.aliases.items():
        for index, other in enumerate(alias.also):
            if other in owner:
                whose = "this alias itself" if owner[other] == name else f"the alias {owner[other]} already"
                yield Mistake(("aliases", name, "also", index), f"{other!r} belongs to {whose}")
            owner.setdefault(other, name)
    if config.default is not None and config.default not in config.aliases:
        hint = nearest(config.default, list(config.aliases))
        yield Mistake(("default",), f"{config.default!r} is no alias; {hint}")


def targets_lead_somewhere(config: Config) -> Iterator[Mistake]:
    """The backends of a target, and of a shadow, exist, once each, and speak one protocol."""
    for name, alias in config.aliases.items():
        for place, group in _groups(alias):
            yield from _group_mistakes(config, ("aliases", name, *place, "backends"), group.backends)


def _groups(alias: Alias) -> Iterator[tuple[Path, Target | Shadow]]:
    """Every group of backends that an alias asks, and where it stands."""
    for index, target in enumerate(alias.targets):
        yield ("targets", index), target
    if alias.shadow is not None:
        yield ("shadow",), alias.shadow


def _group_mistakes(config: Config, where: Path, backends: tuple[str, ...]) -> Iterator[Mistake]:
    for place, backend in enumerate(backends):
        if backend not in config.backends:
            hint = nearest(backend, list(config.backends))
            yield Mistake((*where, place), f"'{backend}' is no backend; {hint}")
        elif backend in backends[:place]:
            yield Mistake((*where, place), f"'{backend}' is given twice")
    kinds = sorted({config.backends[one].kind.value for one in backends if one in config.backends})
    if len(kinds) > 1:
        whose = "a shadow's" if "shadow" in where[2:] else "a target's"
        yield Mistake(where, f"mixes the kinds {' and '.join(kinds)}; {whose} backends are of one kind")


def callers_are_distinct(config: Config) -> Iterator[Mistake]:
    """A key or a certificate belongs to one caller, and a scope names an alias or a route that exists."""
    owner: dict[tuple[str, str], str] = {}
    for name, caller in config.callers.items():
        if not caller.key_sha256 and not caller.certificate:
            yield Mistake(("callers", name), "lacks the key 'key_sha256', or 'certificate': nothing tells who it is")
        for key, shown in (("key_sha256", caller.key_sha256.lower()), ("certificate", caller.certificate)):
            if shown and (key, shown) in owner:
                what = "key" if key == "key_sha256" else "certificate"
                yield Mistake(("callers", name, key), f"is the {what} of {owner[key, shown]} as well")
            owner.setdefault((key, shown), name)
        if caller.certificate and (config.tls is None or not config.tls.client_ca):
            yield Mistake(("callers", name, "certificate"), "is never asked for: tls.client_ca says who issues them")
        for index, scope in enumerate(caller.scopes):
            where = ("callers", name, "scopes", index)
            if wrong := problem(scope):
                yield Mistake(where, wrong)
            for alias in aliases_named((scope,)):
                if alias not in config.aliases:
                    yield Mistake(where, f"{alias!r} is no alias; {nearest(alias, list(config.aliases))}")


def tokens_can_be_checked(config: Config) -> Iterator[Mistake]:
    """Keys that decide who may ask come over a connection nobody else can write to."""
    jwt = config.auth.jwt
    if jwt is None or "://" not in jwt.jwks:
        return
    where = ("auth", "jwt", "jwks")
    try:
        url = urlsplit(jwt.jwks)
        host, port = url.hostname or "", url.port
    except ValueError:
        yield Mistake(where, f"{jwt.jwks!r} is no URL")
        return
    del port
    if url.scheme not in {"https", "http"} or not host or url.username is not None or url.fragment:
        yield Mistake(where, f"expects https://HOST/PATH or the path of a file, not {jwt.jwks!r}")
    elif url.scheme == "http" and not Address(host, 0).loopback:
        yield Mistake(where, f"{jwt.jwks} could be answered by anybody on the way; use https")


def origins_are_origins(config: Config) -> Iterator[Mistake]:
    """An origin has a scheme and no path; `*` may stand for any part of it, as in Ollama."""
    for index, origin in enumerate(config.cors):
        if not _ORIGIN.fullmatch(origin):
            yield Mistake(("cors", index), f"expects an origin such as https://chat.example or *, not {origin!r}")


def guardrails_can_be_kept(config: Config) -> Iterator[Mistake]:
    """Patterns that can be read, hosts that are hosts, and nothing beside them that would let an answer go by."""
    for name, alias in config.aliases.items():
        given, where = alias.guardrails, ("aliases", name, "guardrails")
        if given is None:
            continue
        yield from _pattern_mistakes(given, where)
        if given.redact is not None and not (given.redact.find or given.redact.patterns):
            yield Mistake((*where, "redact"), "looks for nothing; give it `find` or `patterns`")
        for index, host in enumerate(given.links.hosts if given.links is not None else ()):
            if not _HOST.fullmatch(host):
                yield Mistake(
                    (*where, "links", "hosts", index), f"expects a host such as docs.example.com, not {host!r}"
                )
        if alias.shadow is not None and alias.shadow.keep == "text":
            yield Mistake(
                ("aliases", name, "shadow", "keep"), "'text' would keep answers that guardrails take out; keep `digest`"
            )


def _pattern_mistakes(given: Guardrails, where: Path) -> Iterator[Mistake]:
    for key, rule in (("redact", given.redact), ("topics", given.topics)):
        for one, text in rule.patterns.items() if rule is not None else ():
            if not _NAME.fullmatch(one):
                yield Mistake((*where, key, "patterns", one), "a name has letters, digits, dots, dashes, underscores")
            try:
                Pattern(text)
            except ValueError as error:
                yield Mistake((*where, key, "patterns", one), f"this pattern cannot be used: {error}")


RULES: tuple[Callable[[Config], Iterator[Mistake]], ...] = (
    names_can_travel,
    backends_are_whole,
    tls_is_whole,
    addresses_are_safe,
    no_backend_is_us,
    names_are_unique,
    targets_lead_somewhere,
    callers_are_distinct,
    tokens_can_be_checked,
    origins_are_origins,
    guardrails_can_be_kept,
)
