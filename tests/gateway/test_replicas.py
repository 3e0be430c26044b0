"""Which engines a backend stands for: pure, of the configuration, the lists and what names lead to."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.fleets import config

from penstock.config import Backend
from penstock.errors import BadRequest
from penstock.gateway import replicas
from penstock.types import Kind

HERE = config(
    {
        "gpu": Backend(kind=Kind.VLLM, url="http://10.0.0.5:8000", slots=7),
        "each": Backend(kind=Kind.VLLM, url="http://engines.test:8000", resolve="each"),
        "local": Backend(kind=Kind.EMBEDDED, model="guide"),
    },
    [(["gpu", "each"], "m")],
)


def urls(lists: replicas.Lists, found: replicas.Found, name: str) -> set[str]:
    return {one.url for one in replicas.expanded(HERE, lists, found)[name].values()}


def test_a_backend_stands_for_itself() -> None:
    for name, group in replicas.expanded(HERE, {}, {}).items():
        assert group == {name: HERE.backends[name]}


def test_a_list_takes_the_place_of_its_url() -> None:
    group = replicas.expanded(HERE, {"gpu": ("http://10.0.0.5:8000", "http://10.0.0.6:8000")}, {})["gpu"]
    assert {one.url for one in group.values()} == {"http://10.0.0.5:8000", "http://10.0.0.6:8000"}
    assert group["gpu"] is HERE.backends["gpu"]
    assert all(one.slots == 7 for one in group.values())
    (other,) = set(group) - {"gpu"}
    assert re.fullmatch(r"gpu-[0-9a-f]{8}", other)
    assert "10.0.0" not in other


def test_every_address_of_a_name_is_a_replica() -> None:
    assert urls({}, {"engines.test": ("10.1.0.1", "10.1.0.2")}, "each") == {
        "http://10.1.0.1:8000",
        "http://10.1.0.2:8000",
    }
    assert urls({}, {"engines.test": ("fd00::7",)}, "each") == {"http://[fd00::7]:8000"}
    assert urls({}, {"engines.test": ()}, "each") == {"http://engines.test:8000"}


def test_an_address_of_our_own_is_no_replica() -> None:
    found = {"engines.test": ("127.0.0.1", "10.1.0.2")}
    lists = {"each": ("http://engines.test:8000",)}
    assert urls(lists, found, "each") == {"http://10.1.0.2:8000"}


def test_there_is_a_limit() -> None:
    many = tuple(f"10.2.{number // 250}.{number % 250}" for number in range(1000))
    assert len(replicas.expanded(HERE, {}, {"engines.test": many})["each"]) == replicas.MOST


def test_names_that_are_resolved() -> None:
    assert replicas.hosts(HERE, {}) == {"engines.test"}
    assert replicas.hosts(HERE, {"gpu": ("http://other.test:1", "http://localhost:2", "http://[::1]:3")}) == {
        "engines.test",
        "other.test",
    }


def test_one_more_and_one_less() -> None:
    lists = replicas.with_replica(HERE, {}, "gpu", "http://10.0.0.6:8000/v1/")
    assert lists == {"gpu": ("http://10.0.0.5:8000", "http://10.0.0.6:8000")}
    (name,) = set(replicas.expanded(HERE, lists, {})["gpu"]) - {"gpu"}
    assert replicas.without_replica(HERE, lists, "gpu", name) == {"gpu": ("http://10.0.0.5:8000",)}
    assert replicas.without_replica(HERE, lists, "gpu", "gpu") == {"gpu": ("http://10.0.0.6:8000",)}
    assert replicas.without_replica(HERE, lists, "gpu", "http://10.0.0.6:8000") == {"gpu": ("http://10.0.0.5:8000",)}


@pytest.mark.parametrize(
    ("name", "url", "why"),
    [
        ("gpi", "http://10.0.0.6:8000", "did you mean 'gpu'"),
        ("local", "http://10.0.0.6:8000", "embedded"),
        ("gpu", "http://10.0.0.5:8000", "is one already"),
        ("gpu", "http://127.0.0.1:8000", "where this gateway itself listens"),
        ("gpu", "http://localhost:8000/v1", "where this gateway itself listens"),
        ("gpu", "ftp://10.0.0.6", "a URL that begins with http"),
        ("gpu", "http://user:secret@10.0.0.6:8000", "without user or password"),
        ("each", "http://10.0.0.6:8000", "no name to resolve"),
    ],
)
def test_what_cannot_be_added(name: str, url: str, why: str) -> None:
    with pytest.raises(BadRequest) as refused:
        replicas.with_replica(HERE, {}, name, url)
    assert why in refused.value.sentence()


def test_what_cannot_be_removed() -> None:
    for which, why in (("http://10.0.0.9:1", "none of its own"), ("gpu", "the last one")):
        with pytest.raises(BadRequest) as refused:
            replicas.without_replica(HERE, {}, "gpu", which)
        assert why in refused.value.message
    full = {"gpu": tuple(f"http://10.3.0.{number}:1" for number in range(replicas.MOST))}
    with pytest.raises(BadRequest, match="256"):
        replicas.with_replica(HERE, full, "gpu", "http://10.0.0.6:8000")


@given(numbers=st.lists(st.integers(1, 250), min_size=1, max_size=40), again=st.randoms(use_true_random=False))
def test_a_replica_has_one_name_whatever_stands_beside_it(numbers: list[int], again: object) -> None:
    """In any order, in every worker: it is what a conversation's place hangs on."""
    given_urls = [f"http://10.9.0.{number}:8000" for number in numbers]
    shuffled = list(given_urls)
    again.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis' random
    one = replicas.expanded(HERE, {"gpu": tuple(given_urls)}, {})["gpu"]
    other = replicas.expanded(HERE, {"gpu": tuple(shuffled)}, {})["gpu"]
    assert {name: backend.url for name, backend in one.items()} == {
        name: backend.url for name, backend in other.items()
    }
    assert len(one) == len(set(numbers))
