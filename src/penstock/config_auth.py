"""How callers are known: those that stand in the file, keys that were made, tokens of an identity provider.

Part of the tree of config.py. Only nouns; nothing here may do I/O.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from penstock.config_noun import AtLeastOne, Noun, Seconds

TokenAlgorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""No `none`, and none with a shared secret: a public key would be one that everybody knows."""


class CallerLimits(Noun, frozen=True, kw_only=True):
    """What one caller may use; what is not given has no limit."""

    requests_per_minute: Annotated[AtLeastOne | None, Meta(description="Requests that begin within a minute.")] = None
    tokens_per_minute: Annotated[AtLeastOne | None, Meta(description="Tokens, of prompts and answers.")] = None
    concurrent: Annotated[AtLeastOne | None, Meta(description="Requests in flight at once.")] = None
    tokens_per_day: Annotated[AtLeastOne | None, Meta(description="Tokens within a day, UTC.")] = None
    tokens_per_month: Annotated[AtLeastOne | None, Meta(description="Tokens within a calendar month, UTC.")] = None


class CallerEntry(Noun, frozen=True, kw_only=True):
    """Who may ask: a key known by its digest alone, or a client certificate known by a name in it."""

    tenant: Annotated[str, Meta(min_length=1, description="The tenant that this caller belongs to.")]
    key_sha256: Annotated[
        str,
        Meta(
            pattern="^([0-9a-fA-F]{64})?$",
            description="SHA-256 of the caller's key, as 64 hexadecimal digits.",
            extra={"secret": True, "expected": "64 hexadecimal digits"},
        ),
    ] = ""
    certificate: Annotated[
        str,
        Meta(
            pattern="^((DNS|URI|email|IP Address|CN|subject|sha256):[!-~].*)?$",
            description="A name in its client certificate: `DNS:…`, `URI:…`, `email:…`, `CN:…`, `subject:CN=…,O=…` or `sha256:…`.",
            extra={"expected": "DNS:…, URI:…, email:…, CN:…, subject:… or sha256:…"},
        ),
    ] = ""
    scopes: Annotated[
        tuple[str, ...],
        Meta(min_length=1, description="What it may ask for: `*`, `alias:NAME`, `route:OPERATION`, `admin`."),
    ] = ("*",)
    limits: CallerLimits | None = None
    extras: Annotated[
        tuple[str, ...],
        Meta(description="Request fields it may send although they reach beyond its own request; `*` is all of them."),
    ] = ()
    forwards_users: Annotated[
        bool, Meta(description="Whether the user names that it forwards in headers are believed.")
    ] = False


class Jwt(Noun, frozen=True, kw_only=True):
    """Tokens of an identity provider (OIDC)."""

    issuer: Annotated[str, Meta(min_length=1, description="What a token's `iss` must be.")]
    audience: Annotated[str, Meta(min_length=1, description="What must be in a token's `aud`.")]
    jwks: Annotated[
        str, Meta(min_length=1, description="The issuer's public keys: an https URL, or the path of a JWKS file.")
    ]
    algorithms: Annotated[
        tuple[TokenAlgorithm, ...], Meta(min_length=1, description="Signatures that are accepted; no others.")
    ] = ("RS256", "ES256")
    leeway: Annotated[Seconds, Meta(description="How far the issuer's clock may be from ours.")] = 30.0
    refresh: Annotated[Seconds, Meta(description="Time between two looks at the keys.")] = 300.0
    stale: Annotated[Seconds, Meta(description="How long keys count that cannot be looked at again.")] = 3600.0
    name_claim: Annotated[str, Meta(min_length=1, description="The claim that names the caller.")] = "sub"
    tenant_claim: Annotated[str, Meta(min_length=1, description="The claim that names its tenant.")] = "tenant"
    scope_claim: Annotated[
        str, Meta(min_length=1, description="The claim that has its scopes, a list or words with spaces between.")
    ] = "scope"


class Auth(Noun, frozen=True, kw_only=True):
    """How callers are known, beside those that stand in this file."""

    keys: Annotated[
        Literal["auto", "always"],
        Meta(
            description="Keys of `penstock keys create`: asked for once one was made (`auto`), or from the start (`always`)."
        ),
    ] = "auto"
    pepper_env: Annotated[
        str,
        Meta(
            pattern="^([A-Za-z_][A-Za-z0-9_]*)?$",
            description="Name of the environment variable with the pepper of keys, instead of a file beside the state.",
            extra={"secret": True, "expected": "the name of an environment variable, not the pepper itself"},
        ),
    ] = ""
    store_away: Annotated[
        Literal["fail-closed", "known-keys"],
        Meta(
            description="While the state cannot be read: refuse its keys, or go on with known ones for `store_grace`."
        ),
    ] = "fail-closed"
    store_grace: Annotated[Seconds, Meta(description="How long `known-keys` goes on.")] = 600.0
    admin: Annotated[
        Literal["loopback", "anywhere", "off"],
        Meta(description="Where callers with the scope `admin` may administer keys over HTTP."),
    ] = "loopback"
    jwt: Jwt | None = None
