"""One copy by itself: what it holds is bounded and given back, however it ends."""

from __future__ import annotations

import pytest

from penstock.gateway.shadow_copy import LARGEST, Copy
from penstock.gateway.shadow_pair import Seen
from penstock.gateway.shadow_room import Room, Slots
from penstock.protocols.table import ROUTES

SLOTS = Slots()
BODY = b'{"model": "m", "messages": [{"role": "user", "content": "hello"}]}'


def copied(room: Room, told: list[Seen | str]) -> Copy:
    call = ROUTES[b"/v1/chat/completions"].decode(BODY, "application/json")
    return Copy(call, b"req-1", "m", "tenant", SLOTS, room, lambda _, what: told.append(what))


def test_no_more_is_held_than_there_is_room_for() -> None:
    room, told = Room(10), list[Seen | str]()
    one, other = copied(room, told), copied(room, told)
    one.saw(b"123456")
    other.saw(b"1234")
    assert (room.held, told) == (10, [])
    other.saw(b"5")
    assert (room.held, told) == (6, ["memory"])
    assert other.over
    one.saw(b"7890")
    assert (room.held, one.over) == (10, False)


@pytest.mark.parametrize("reason", ["left", "drained", "reloaded"])
def test_what_was_held_is_given_back_once(reason: str) -> None:
    room, told = Room(100), list[Seen | str]()
    taken = SLOTS.taken
    copy = copied(room, told)
    assert SLOTS.taken == taken + 1
    copy.saw(b"x" * 50)
    copy.drop(reason)
    copy.drop("slots")
    copy.saw(b"more")
    copy.complete()
    assert (room.held, told, SLOTS.taken) == (0, [reason], taken)


def test_an_answer_that_is_too_large() -> None:
    room, told = Room(4 * LARGEST), list[Seen | str]()
    copy = copied(room, told)
    copy.saw(b"x" * LARGEST)
    assert told == []
    copy.saw(b"x")
    assert (room.held, told) == (0, ["too_large"])
