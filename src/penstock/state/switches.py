"""The tables of switches and events: a change and its event are one transaction, and one that comes too late is refused.

Blocking, like everything in this package. Events are kept for good: there are as many as people and canaries take steps.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, text

from penstock.state.store import Store
from penstock.state.switch import Changed, Event, Switch


def read(store: Store) -> dict[str, Switch]:
    """Every alias whose path is not what the file says."""
    with store.begin("Reading what was switched") as connection:
        rows = connection.execute(text("SELECT body FROM switches ORDER BY alias")).all()
    switches = [msgspec.json.decode(row[0], type=Switch) for row in rows]
    return {one.alias: one for one in switches}


def change(store: Store, after: Switch, event: Event) -> Switch:
    """Write a switch that was made of the revision it still names, and what happened; the switch as it is kept.

    Raises `Changed` where the alias has another revision by now.
    """
    kept = msgspec.structs.replace(after, revision=after.revision + 1)
    with store.begin(f"Writing {event.what} of {after.alias}") as connection:
        if not _written(connection, after.revision, kept):
            raise Changed(
                f"Writing {event.what} of {after.alias}: its path was changed by somebody else a moment ago.",
                hint="Look with `penstock canary status`, and try again.",
            )
        _note(connection, event)
    return kept


def events(store: Store, alias: str = "", limit: int = 50) -> list[Event]:
    """The newest events, of one alias or of all, the newest first."""
    with store.begin("Reading events") as connection:
        rows = connection.execute(
            text(
                "SELECT id, made, what, alias, who, reason, detail FROM events"
                " WHERE :alias = '' OR alias = :alias ORDER BY id DESC LIMIT :limit"
            ),
            {"limit": limit, "alias": alias},
        ).all()
    return [_event(row) for row in rows]


def _written(connection: Connection, before: int, kept: Switch) -> bool:
    values = {
        "alias": kept.alias,
        "before": before,
        "revision": kept.revision,
        "body": msgspec.json.encode(kept).decode(),
    }
    if not before:
        # A row stays when the alias is plain again, so that revisions never begin anew.
        found = connection.execute(
            text(
                "INSERT INTO switches (alias, revision, body) VALUES (:alias, :revision, :body) ON CONFLICT DO NOTHING"
            ),
            values,
        )
    else:
        found = connection.execute(
            text("UPDATE switches SET revision = :revision, body = :body WHERE alias = :alias AND revision = :before"),
            values,
        )
    return found.rowcount == 1


def _note(connection: Connection, event: Event) -> None:
    connection.execute(
        text(
            "INSERT INTO events (id, made, what, alias, who, reason, detail)"
            " VALUES (:id, :made, :what, :alias, :who, :reason, :detail)"
        ),
        {
            "id": f"{time.time_ns():020d}-{os.urandom(4).hex()}",
            "made": event.made or time.time(),
            "what": event.what,
            "alias": event.alias,
            "who": event.who,
            "reason": event.reason,
            "detail": msgspec.json.encode(event.detail).decode(),
        },
    )


def _event(row: Sequence[object]) -> Event:
    identity, made, what, alias, who, reason, detail = row
    return Event(
        id=str(identity),
        made=float(str(made)),
        what=str(what),
        alias=str(alias),
        who=str(who),
        reason=str(reason),
        detail=msgspec.json.decode(str(detail), type=dict[str, str]),
    )
