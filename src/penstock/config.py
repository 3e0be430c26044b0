"""The configuration: one frozen tree, in the words of penstock.yaml.

Durations are seconds, sizes are bytes and shares are parts of one here, whatever spelling the file used. Only nouns live
in this file: where values come from is sources.py, what must fit together is consistency.py. Nothing here may do I/O.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from penstock.config_auth import Auth, CallerEntry, CallerLimits
from penstock.config_guardrails import Guardrails
from penstock.config_noun import AtLeastOne, Bytes, Count, ListenAddress, Noun, Seconds, Share, Url
from penstock.config_otel import Otel
from penstock.config_receipts import Receipts
from penstock.config_tenants import Tenants
from penstock.types import Kind

Fallback = Literal["any", "same-model", "never"]
Midstream = Literal["error", "continue", "restart"]

LISTEN = ("127.0.0.1:8000",)

GUIDE = "guide"
"""The name of the bundled model, and of the alias that offers it."""


class BackendTls(Noun, frozen=True, kw_only=True):
    """How an engine behind https is known, and how we are known to it. It is always verified."""

    ca: Annotated[
        str, Meta(description="Path of the authorities' certificates to trust instead of the system's, PEM.")
    ] = ""
    cert: Annotated[str, Meta(description="Path of our certificate chain for engines that ask for one, PEM.")] = ""
    key: Annotated[str, Meta(description="Path of its private key, PEM.")] = ""
    name: Annotated[
        str, Meta(description="The host name that its certificate must bear, where it is not the URL's.")
    ] = ""


class Backend(Noun, frozen=True, kw_only=True):
    """One engine process that can serve."""

    kind: Annotated[
        Kind, Meta(description="Sort of engine: vllm, ollama, openai (anything OpenAI-compatible) or embedded.")
    ]
    url: Annotated[
        Url, Meta(description="Its base URL, with or without /v1. Required, but for the embedded engine.")
    ] = ""
    model: Annotated[str, Meta(description="Embedded engine only: `guide` or the path of a GGUF file.")] = ""
    slots: Annotated[
        AtLeastOne,
        Meta(description="Requests it is given at the same time. 4 where not given for the embedded engine."),
    ] = 256
    key_env: Annotated[
        str,
        Meta(
            pattern="^([A-Za-z_][A-Za-z0-9_]*)?$",
            description="Name of the environment variable that holds the API key sent to it. Never the key itself.",
            extra={"secret": True, "expected": "the name of an environment variable, not the key itself"},
        ),
    ] = ""
    probe: Annotated[Seconds, Meta(description="Time between two health probes.")] = 2.0
    resolve: Annotated[
        Literal["any", "each"],
        Meta(
            description="`each`: every address of the URL's host is a replica of its own, as behind a headless service."
        ),
    ] = "any"
    tls: BackendTls | None = None


class Target(Noun, frozen=True, kw_only=True):
    """A group of interchangeable backends and the model name to ask of them."""

    backends: Annotated[tuple[str, ...], Meta(min_length=1, description="Names of backends, all of one kind.")]
    model: Annotated[str, Meta(min_length=1, description="The model name asked of them.")]


class Shadow(Noun, frozen=True, kw_only=True):
    """A second target that is sent a share of an alias' requests, whose answers no caller ever sees."""

    backends: Annotated[tuple[str, ...], Meta(min_length=1, description="Names of backends, all of one kind.")]
    model: Annotated[str, Meta(min_length=1, description="The model name asked of them.")]
    share: Annotated[Share, Meta(description="Of the alias' requests, chosen by their ids.")]
    slots: Annotated[
        AtLeastOne, Meta(description="Copies under way at the same time in one process; more are skipped and counted.")
    ] = 4
    total: Annotated[Seconds | None, Meta(description="For one copy; the alias' own total where not given.")] = None
    keep: Annotated[
        Literal["digest", "text"],
        Meta(description="What a pair keeps: figures and digests, or prompts and answers as well."),
    ] = "digest"
    pairs: Annotated[AtLeastOne, Meta(description="Pairs kept of this alias; the oldest go first.")] = 1000


class Alias(Noun, frozen=True, kw_only=True):
    """A model name that clients ask for."""

    also: Annotated[tuple[str, ...], Meta(description="Other names for the same alias.")] = ()
    targets: Annotated[tuple[Target, ...], Meta(min_length=1, description="Where requests go, in order of preference.")]
    fallback: Annotated[
        Fallback, Meta(description="Which later targets may answer when the first cannot: any, same-model or never.")
    ] = "any"
    midstream: Annotated[
        Midstream,
        Meta(
            description="When an engine dies after text was sent: end in an error, continue on a backend of the same target, or restart there."
        ),
    ] = "error"
    slots: Annotated[Count, Meta(description="Requests at the same time; 0 sets no limit of its own.")] = 0
    connect: Annotated[Seconds | None, Meta(description="Instead of limits.connect, for this alias.")] = None
    first_token: Annotated[Seconds | None, Meta(description="Instead of limits.first_token, for this alias.")] = None
    whole: Annotated[Seconds | None, Meta(description="Instead of limits.whole, for this alias.")] = None
    between_tokens: Annotated[Seconds | None, Meta(description="Instead of limits.between_tokens, for this alias.")] = (
        None
    )
    total: Annotated[Seconds | None, Meta(description="Instead of limits.total, for this alias.")] = None
    durability: Annotated[
        Literal["written", "fsync"],
        Meta(description="With `receipts`: whether the end of an answer waits until its receipt is on the disk."),
    ] = "written"
    shadow: Shadow | None = None
    guardrails: Guardrails | None = None


class Limits(Noun, frozen=True, kw_only=True):
    """Every wait and every buffer has one of these."""

    connect: Annotated[Seconds, Meta(description="To open a connection to a backend.")] = 2.0
    first_token: Annotated[Seconds, Meta(description="From the request sent upstream to the first content.")] = 30.0
    between_tokens: Annotated[Seconds, Meta(description="Between two pieces of a stream.")] = 15.0
    whole: Annotated[
        Seconds | None,
        Meta(
            description="For an answer that is not streamed, while another backend could still be asked; half of total where not given."
        ),
    ] = None
    total: Annotated[Seconds, Meta(description="For one request, from first to last.")] = 600.0
    attempts: Annotated[AtLeastOne, Meta(description="Backends tried for one request.")] = 3
    retries: Annotated[
        Share, Meta(description="Further attempts after engines' errors, as a share of an alias' requests.")
    ] = 0.2
    retries_reserve: Annotated[
        Count, Meta(description="Further attempts beyond that share; a tenth of them comes back every second.")
    ] = 100
    queue: Annotated[Count, Meta(description="Requests that may wait for a slot; more are refused with 503.")] = 200
    queue_wait: Annotated[Seconds, Meta(description="How long one of them waits before it is refused.")] = 30.0
    body: Annotated[Bytes, Meta(description="Largest request body.")] = 32 * 2**20
    answer: Annotated[Bytes, Meta(description="Largest answer that is held in memory as a whole.")] = 64 * 2**20
    headers: Annotated[Bytes, Meta(description="Largest request head.")] = 64 * 2**10
    drain: Annotated[Seconds, Meta(description="After SIGTERM, for running requests to end.")] = 30.0
    idle: Annotated[
        Seconds,
        Meta(description="An open client connection without a request, or whose client takes nothing of its answer."),
    ] = 75.0
    head: Annotated[Seconds, Meta(description="For a client to send a request head.")] = 10.0
    upload: Annotated[Seconds, Meta(description="For a client to send a request body.")] = 60.0


class Tls(Noun, frozen=True, kw_only=True):
    """A certificate for every address in `listen`."""

    cert: Annotated[str, Meta(min_length=1, description="Path of the certificate chain, PEM.")]
    key: Annotated[str, Meta(min_length=1, description="Path of its private key, PEM.")]
    client_ca: Annotated[
        str,
        Meta(description="Path of the authorities' certificates that clients' certificates must be issued by, PEM."),
    ] = ""
    clients: Annotated[
        Literal["required", "optional"],
        Meta(description="With `client_ca`: whether a client may come without a certificate."),
    ] = "required"


class Log(Noun, frozen=True, kw_only=True):
    """What the gateway writes to stderr."""

    format: Annotated[
        Literal["auto", "console", "json"], Meta(description="`auto` is console on a terminal and json elsewhere.")
    ] = "auto"
    level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="The least that is written.")] = (
        "info"
    )
    requests: Annotated[bool, Meta(description="One line for each request.")] = True


class OllamaFace(Noun, frozen=True, kw_only=True):
    """How we look to clients that speak Ollama."""

    defaults: Annotated[
        bool, Meta(description="Whether options that an Ollama client leaves out get Ollama's own defaults.")
    ] = True
    version: Annotated[
        str,
        Meta(
            pattern=r"^\d+\.\d+\.\d+$",
            description="What /api/version answers.",
            extra={"expected": "a version such as 0.12.0"},
        ),
    ] = "0.12.0"


class Config(Noun, frozen=True, kw_only=True):
    """The whole tree."""

    listen: Annotated[
        tuple[ListenAddress, ...],
        Meta(min_length=1, description="Addresses served, `host:port` or `[::1]:port`. Beyond loopback needs callers."),
    ] = LISTEN
    listen_metrics: Annotated[
        tuple[ListenAddress, ...],
        Meta(description="Further addresses that serve /metrics, /health and /stats and nothing else."),
    ] = ()
    backends: Annotated[dict[str, Backend], Meta(min_length=1, description="The engines, by name.")]
    aliases: Annotated[dict[str, Alias], Meta(min_length=1, description="The model names offered to clients.")]
    default: Annotated[
        str | None, Meta(description="The alias that /health speaks of; the first one where not given.")
    ] = None
    limits: Limits = Limits()
    callers: Annotated[
        dict[str, CallerEntry], Meta(description="Who may ask. Without any, everybody on this machine may.")
    ] = {}  # noqa: RUF012 - a struct gives every tree its own
    auth: Auth = Auth()
    budgets: Annotated[
        dict[str, CallerLimits],
        Meta(description="What all callers of a tenant may use together, by the tenant's name."),
    ] = {}  # noqa: RUF012 - a struct gives every tree its own
    state: Annotated[
        str,
        Meta(
            pattern="^(sqlite:///.+|postgresql://.+)$",
            description="Where what must last is kept.",
            extra={"expected": "sqlite:///PATH or postgresql://…", "secret": True},
        ),
    ] = "sqlite:///state/penstock.db"
    admin: Annotated[str, Meta(min_length=1, description="Path of the admin socket, readable by its owner alone.")] = (
        "state/admin.sock"
    )
    fleet: Annotated[
        str,
        Meta(min_length=1, description="Path of the file that gives backends their replicas; watched while we run."),
    ] = "state/fleet.yaml"
    tls: Tls | None = None
    cors: Annotated[
        tuple[str, ...], Meta(description="Origins whose pages may call us, `https://host`, or `*`. Closed by default.")
    ] = ()
    workers: Annotated[AtLeastOne, Meta(description="Processes that share the listening addresses.")] = 1
    http: Annotated[
        Literal["hot", "asgi"], Meta(description="`hot` answers model routes in the protocol; `asgi` is the reference.")
    ] = "hot"
    tenants: Tenants = Tenants()
    log: Log = Log()
    otel: Otel | None = None
    receipts: Receipts | None = None
    ollama: OllamaFace = OllamaFace()

    @property
    def asks_who(self) -> bool:
        """Whether everybody must show who they are, whatever the state says."""
        return bool(self.callers) or self.auth.keys == "always" or self.auth.jwt is not None

    @property
    def default_alias(self) -> str:
        """The alias that /health speaks of."""
        return self.default if self.default is not None else next(iter(self.aliases))


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """A tree together with where each of its values came from."""

    config: Config
    origin: dict[str, str]
    """Dotted path of a value -> `default`, `penstock.yaml:12`, `environment USE_VLLM`, `found at http://…`."""
    notes: tuple[str, ...] = ()
    """What a person should know about how it came together: names that were set but not used, and why."""
