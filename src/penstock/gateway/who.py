"""Who may ask, made ready before anybody can: keys of the state, an issuer's keys; and said where it is everybody."""

from __future__ import annotations

import contextlib

import structlog

from penstock.gateway.admin_keys import Keys
from penstock.gateway.line import Line
from penstock.gateway.peers import Peers
from penstock.gateway.places import Places
from penstock.gateway.stored_keys import StoredKeys

log = structlog.stdlib.get_logger("penstock.auth")


async def known(line: Line, places: Places, peers: Peers, life: contextlib.AsyncExitStack, *, leads: bool) -> Keys:
    """What can be ordered of keys; they are looked at from now on until `life` ends."""
    config = line.config
    stored = StoredKeys(config, line, places)
    life.push_async_callback(stored.close)
    await stored.open()
    if config.auth.jwt is not None:
        from penstock.gateway.jwks import Jwks  # noqa: PLC0415 - a library that most gateways do not need

        issuer = Jwks(config.auth.jwt, line)
        life.push_async_callback(issuer.close)
        await issuer.open()
    if line.keyring.open and leads:
        log.warning("no keys: everybody on this machine may ask", hint="penstock keys create makes the first one.")
    return Keys(line, places, stored, peers)
