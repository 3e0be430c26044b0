"""Keys in the state: shown once, kept as a keyed hash, revoked, replaced, and told by generation."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

from penstock.errors import BadRequest, ConfigError
from penstock.state import keys, pepper
from penstock.state.key import FORM, Made, Wanted, digest, fresh
from penstock.state.store import Store
from penstock.types import KeyLimits

PEPPER = b"p" * 32
NOW = 1_000.0


@pytest.fixture
def store(state_url: str) -> Iterator[Store]:
    with Store(state_url) as opened:
        yield opened


def wanted(**more: object) -> Wanted:
    return Wanted(**{"name": "notes", "tenant": "research", **more})  # type: ignore[arg-type]


def make(store: Store, **more: object) -> Made:
    return keys.create(store, PEPPER, wanted(**more), NOW)


def test_a_key_is_kept_and_its_secret_is_not(store: Store, tmp_path: Path) -> None:
    """The database holds neither the secret nor a plain hash of it (S2.8)."""
    limits = KeyLimits(requests_per_minute=60, tokens_per_day=1000)
    made = make(store, scopes=("alias:m", "route:chat"), limits=limits, extras=("priority",), expires_in=60.0)
    assert FORM.fullmatch(made.secret.encode())
    assert made.secret.split("-")[1] == made.key.id
    assert keys.listed(store) == [made.key]
    caller = made.key.caller()
    assert (caller.tenant, caller.key_id, caller.limits, caller.until) == ("research", made.key.id, limits, NOW + 60)
    assert not caller.free
    with store.begin("Reading all there is") as connection:
        row = str(connection.execute(text("SELECT * FROM keys")).all())
    store.close()
    raw = row.encode() + b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert made.secret.encode() not in raw
    assert made.secret.split("-", 2)[2].encode() not in raw
    assert digest(PEPPER, made.secret.encode()).hex().encode() in raw


def test_two_keys_have_nothing_in_common() -> None:
    """192 random bits each."""
    found = {fresh() for _ in range(200)}
    assert len({identity for identity, _ in found}) == len({secret for _, secret in found}) == 200
    assert all(len(secret) == len("sk-") + 10 + 1 + 32 for _, secret in found)


@pytest.mark.parametrize(
    "wish",
    [
        {"name": ""},
        {"name": "a\nb"},
        {"tenant": "x" * 201},
        {"tenant": "caf\u00e9"},
        {"scopes": ()},
        {"scopes": ("alias:",)},
        {"scopes": ("route:walk",)},
        {"scopes": ("root",)},
        {"expires_in": 0.0},
        {"limits": KeyLimits(concurrent=0)},
    ],
)
def test_a_wish_no_key_can_fulfil_is_refused(store: Store, wish: dict[str, object]) -> None:
    with pytest.raises(BadRequest):
        make(store, **wish)
    assert keys.listed(store) == []


def test_every_change_is_told_once_by_its_generation(store: Store) -> None:
    assert keys.generation(store) == 0
    first = make(store)
    seen, told = keys.changes(store, 0)
    assert (seen, [one.key for one in told]) == (1, [first.key])
    second = make(store, name="other")
    revoked = keys.revoke(store, first.key.id, NOW + 5)
    assert revoked.revoked == NOW + 5
    assert revoked.state(NOW + 5) == "revoked"
    seen, told = keys.changes(store, seen)
    assert {one.key.id: one.key.revoked for one in told} == {first.key.id: NOW + 5, second.key.id: None}
    assert keys.changes(store, seen) == (seen, [])
    assert keys.revoke(store, first.key.id, NOW + 9).revoked == NOW + 5


def test_generations_are_seen_in_order_whoever_writes(store: Store, state_url: str) -> None:
    """Four writers at once: whoever reads up to a generation has missed nothing before it."""
    seen: set[str] = set()
    since = 0
    with ThreadPoolExecutor(4) as pool, Store(state_url) as reader:
        writing = [pool.submit(lambda number=number: make(store, name=f"k{number}")) for number in range(40)]  # type: ignore[misc]
        while len(seen) < 40:
            done = all(one.done() for one in writing)
            since, told = keys.changes(reader, since)
            seen |= {one.key.id for one in told}
            assert not done or len(seen) == 40
        made = {one.result().key.id for one in writing}
    assert seen == made
    with Store(state_url) as reader:
        # A change between the two looks of one reading is told again with the next.
        assert keys.changes(reader, since)[0] == 40


def test_a_rotated_key_goes_on_until_its_overlap_ends(store: Store) -> None:
    old = make(store, scopes=("alias:m",), extras=("priority",))
    new = keys.rotate(store, PEPPER, "notes", 60.0, NOW + 10)
    after = keys.find(store, old.key.id)
    assert (after.expires, after.replaced_by) == (NOW + 70, new.key.id)
    assert [after.state(NOW + 69), after.state(NOW + 70)] == ["valid", "expired"]
    assert (new.key.scopes, new.key.extras, new.key.tenant, new.key.name) == (
        ("alias:m",),
        ("priority",),
        "research",
        "notes",
    )
    assert new.secret != old.secret
    with pytest.raises(BadRequest, match="was replaced by"):
        keys.rotate(store, PEPPER, old.key.id, 60.0, NOW + 11)


def test_an_overlap_never_lengthens_a_life(store: Store) -> None:
    old = make(store, expires_in=20.0)
    keys.rotate(store, PEPPER, old.key.id, 3600.0, NOW + 1)
    assert keys.find(store, old.key.id).expires == NOW + 20


def test_a_name_that_two_keys_have_names_neither(store: Store) -> None:
    first, second = make(store), make(store)
    with pytest.raises(BadRequest, match="2 have this name"):
        keys.revoke(store, "notes", NOW)
    keys.revoke(store, first.key.id, NOW)
    assert keys.find(store, "notes").id == second.key.id
    with pytest.raises(BadRequest, match="there is none"):
        keys.find(store, "nobody")


def test_the_pepper_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'deep' / 'penstock.db'}"
    assert pepper.read(url, "", {}) is None
    made = pepper.make(url, "", {})
    assert len(made) == pepper.SIZE
    assert pepper.make(url, "", {}) == made == pepper.read(url, "", {})
    file = tmp_path / "deep" / "penstock.pepper"
    assert file.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in file.parent.iterdir()] == [file.name]
    file.chmod(0o640)
    with pytest.raises(ConfigError, match="others than its owner"):
        pepper.read(url, "", {})
    file.chmod(0o600)
    file.write_text("abc\n")
    with pytest.raises(ConfigError, match="64 hexadecimal digits"):
        pepper.make(url, "", {})


def test_a_pepper_of_the_environment(tmp_path: Path) -> None:
    url = "postgresql://db/penstock"
    assert pepper.read(url, "PEPPER", {"PEPPER": "x" * 64}) == b"x" * 64
    with pytest.raises(ConfigError, match="fewer than 32"):
        pepper.read(url, "PEPPER", {})
    with pytest.raises(ConfigError, match="no file to keep one beside"):
        pepper.read(url, "", {})
    assert not list(tmp_path.iterdir())
