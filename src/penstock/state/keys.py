"""The table of keys: made, listed, revoked, replaced. A change and its generation are one transaction.

Blocking, like everything in this package. Rows stay when a key is revoked, so that old receipts can name it. The secret
of a key is in none of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, text

from penstock.errors import BadRequest
from penstock.scopes import problem
from penstock.state.key import Key, Made, Wanted, digest, fresh
from penstock.state.store import Store
from penstock.types import KeyLimits

LONGEST_NAME = 200
_COLUMNS = "id, name, tenant, body, made, expires, revoked, replaced_by"


class _Body(msgspec.Struct, frozen=True, omit_defaults=True):
    scopes: tuple[str, ...]
    limits: KeyLimits | None = None
    extras: tuple[str, ...] = ()
    forwards_users: bool = False


class Change(msgspec.Struct, frozen=True):
    """A key as it is since some generation."""

    digest: bytes
    key: Key


def create(store: Store, pepper: bytes, wanted: Wanted, now: float) -> Made:
    """A new key; what is wrong with the wish is a `BadRequest`."""
    check(wanted)
    identity, secret = fresh()
    key = Key(
        id=identity,
        name=wanted.name,
        tenant=wanted.tenant,
        scopes=wanted.scopes,
        limits=wanted.limits,
        extras=wanted.extras,
        forwards_users=wanted.forwards_users,
        made=now,
        expires=None if wanted.expires_in is None else now + wanted.expires_in,
    )
    with store.begin("Writing a new key") as connection:
        _insert(connection, key, digest(pepper, secret.encode()), _next(connection))
    return Made(secret, key)


def check(wanted: Wanted) -> None:
    """`BadRequest` for a wish that no key can fulfil."""
    for what, value in (("name", wanted.name), ("tenant", wanted.tenant)):
        if not 0 < len(value) <= LONGEST_NAME or not value.isascii() or not value.isprintable():
            raise BadRequest(f"Making a key: its {what} {value[:50]!r} is not 1 to {LONGEST_NAME} ASCII characters.")
    if not wanted.scopes:
        raise BadRequest("Making a key: it has no scope.", hint="`*` is every alias on every route.")
    for scope in wanted.scopes:
        if wrong := problem(scope):
            raise BadRequest(f"Making a key: a scope {wrong}.")
    if wanted.expires_in is not None and wanted.expires_in <= 0:
        raise BadRequest("Making a key: it would have expired already.")
    limits = msgspec.structs.asdict(wanted.limits) if wanted.limits is not None else {}
    for what, value in limits.items():
        if value is not None and value < 1:
            raise BadRequest(f"Making a key: {what} is {value}; the least is 1.")


def listed(store: Store) -> list[Key]:
    """Every key there ever was, the oldest first."""
    with store.begin("Reading keys") as connection:
        rows = connection.execute(text(f"SELECT {_COLUMNS} FROM keys ORDER BY made, id")).all()  # noqa: S608 - ours
    return [_key(row) for row in rows]


def find(store: Store, named: str) -> Key:
    """The key of this id, or the only one of this name that is not revoked; `BadRequest` for anything else."""
    keys = listed(store)
    for key in keys:
        if key.id == named:
            return key
    same = [key for key in keys if key.name == named]
    standing = [key for key in same if key.revoked is None] or same
    if not standing:
        raise BadRequest(f"Looking for the key {named[:50]!r}: there is none.", hint="See `penstock keys list`.")
    if len(standing) > 1:
        ids = ", ".join(key.id for key in standing)
        raise BadRequest(f"Looking for the key {named!r}: {len(standing)} have this name.", hint=f"Give an id: {ids}.")
    return standing[0]


def revoke(store: Store, named: str, now: float) -> Key:
    """From now on nobody can ask with it. One that is revoked already stays as it is."""
    key = find(store, named)
    with store.begin(f"Revoking the key {key.id}") as connection:
        connection.execute(
            text("UPDATE keys SET revoked = :now, changed = :changed WHERE id = :id AND revoked IS NULL"),
            {"id": key.id, "now": now, "changed": _next(connection)},
        )
    return find(store, key.id)


def rotate(store: Store, pepper: bytes, named: str, overlap: float, now: float) -> Made:
    """A new key that may what the old one may; the old one ends after the overlap, in seconds."""
    old = find(store, named)
    if old.state(now) != "valid" or old.replaced_by:
        why = f"it was replaced by {old.replaced_by}" if old.replaced_by else f"it is {old.state(now)}"
        raise BadRequest(f"Replacing the key {old.id}: {why}.", hint="Make a new one with `penstock keys create`.")
    identity, secret = fresh()
    key = msgspec.structs.replace(old, id=identity, made=now)
    ends = now + overlap if old.expires is None else min(old.expires, now + overlap)
    with store.begin(f"Replacing the key {old.id}") as connection:
        changed = _next(connection)
        done = connection.execute(
            text(
                "UPDATE keys SET expires = :ends, replaced_by = :new, changed = :changed"
                " WHERE id = :id AND revoked IS NULL AND replaced_by = ''"
            ),
            {"id": old.id, "ends": ends, "new": identity, "changed": changed},
        )
        if done.rowcount != 1:
            raise BadRequest(f"Replacing the key {old.id}: somebody else has changed it a moment ago.")
        _insert(connection, key, digest(pepper, secret.encode()), changed)
    return Made(secret, key)


def generation(store: Store) -> int:
    """Grows with every change of any key."""
    with store.begin("Reading whether keys have changed") as connection:
        return int(connection.execute(text("SELECT number FROM generations WHERE name = 'keys'")).scalar_one())


def changes(store: Store, since: int) -> tuple[int, list[Change]]:
    """The generation, and every key that has changed after `since`."""
    with store.begin("Reading keys") as connection:
        # First the number: a change between the two is told again with the next.
        number = int(connection.execute(text("SELECT number FROM generations WHERE name = 'keys'")).scalar_one())
        rows = connection.execute(
            text(f"SELECT {_COLUMNS}, digest FROM keys WHERE changed > :since"),  # noqa: S608 - ours
            {"since": since},
        ).all()
    return number, [Change(bytes.fromhex(str(row[-1])), _key(row)) for row in rows]


def _next(connection: Connection) -> int:
    # The row is locked until the end of this transaction, so generations are seen in the order of their numbers.
    connection.execute(text("UPDATE generations SET number = number + 1 WHERE name = 'keys'"))
    return int(connection.execute(text("SELECT number FROM generations WHERE name = 'keys'")).scalar_one())


def _insert(connection: Connection, key: Key, hashed: bytes, changed: int) -> None:
    body = _Body(key.scopes, key.limits, key.extras, key.forwards_users)
    connection.execute(
        text(
            "INSERT INTO keys (id, name, tenant, digest, body, made, expires, revoked, replaced_by, changed)"
            " VALUES (:id, :name, :tenant, :digest, :body, :made, :expires, NULL, '', :changed)"
        ),
        {
            "id": key.id,
            "name": key.name,
            "tenant": key.tenant,
            "digest": hashed.hex(),
            "body": msgspec.json.encode(body).decode(),
            "made": key.made,
            "expires": key.expires,
            "changed": changed,
        },
    )


def _key(row: Sequence[object]) -> Key:
    identity, name, tenant, body, made, expires, revoked, replaced_by = row[:8]
    told = msgspec.json.decode(str(body), type=_Body)
    return Key(
        id=str(identity),
        name=str(name),
        tenant=str(tenant),
        scopes=told.scopes,
        limits=told.limits,
        extras=told.extras,
        forwards_users=told.forwards_users,
        made=float(str(made)),
        expires=None if expires is None else float(str(expires)),
        revoked=None if revoked is None else float(str(revoked)),
        replaced_by=str(replaced_by),
    )
