"""What a replica may still hold of what it was sent."""

from __future__ import annotations

import sys
import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.gateway.prefix import ENDS, HALF, LIMIT, MOST, REQUEST, TOKEN, Prompt, Sent, Trip, prompt

TEXTS = st.lists(st.sampled_from([b"a" * 300, b"b" * 700, b"c" * 5000, b"d" * 40]), max_size=6).map(b"".join)


def asked(text: bytes, session: str | None = None, tenant: str = "t", model: str = "m") -> Prompt:
    return prompt(tenant, model, session, b'{"messages":[' + text + b"]}")


def sent(*prompts: Prompt, limit: int = LIMIT) -> Sent:
    one = Sent(limit)
    for each in prompts:
        Trip(each).begin(one, 0.0)
    return one


@given(st.lists(TEXTS, max_size=8), TEXTS)
@settings(max_examples=80)
def test_what_is_known_is_the_longest_beginning_that_was_sent(before: list[bytes], text: bytes) -> None:
    """Against the definition: of all prompts sent, the longest common beginning, down to the next cut."""
    one = sent(*map(asked, before))
    whole = b'"messages":[' + text + b"]}"
    common = 0
    for other in before:
        earlier = b'"messages":[' + other + b"]}"
        length = next(
            (at for at, (a, b) in enumerate(zip(whole, earlier, strict=False)) if a != b), min(len(whole), len(earlier))
        )
        common = max(common, max((end for end in ENDS if end <= length), default=0))
    assert one.known(asked(text)) == common


@given(st.lists(st.tuples(TEXTS, st.none() | st.sampled_from(["s1", "s2"])), max_size=30), st.integers(0, 20_000))
@settings(max_examples=80)
def test_it_remembers_little_more_than_its_limit(prompts: list[tuple[bytes, str | None]], limit: int) -> None:
    one = Sent(limit)
    longest = 0
    for text, session in prompts:
        prompt = asked(text, session)
        longest = max(longest, prompt.length + REQUEST)
        Trip(prompt).begin(one, 0.0)
        assert one.size <= max(2 * limit, 2 * longest)
        assert one.size == remembered(one, [asked(text, session) for text, session in prompts])
        assert one.known(prompt) in {prompt.length, max((end for end in ENDS if end <= prompt.length), default=0)}


def remembered(one: Sent, prompts: list[Prompt]) -> int:
    """By definition: every piece of a beginning, and every session, in each generation that has it."""
    steps = {
        mark: end - before for each in prompts for mark, before, end in zip(each.marks, (0, *ENDS), ENDS, strict=False)
    }
    steps |= {each.session: REQUEST for each in prompts if each.session}
    return sum(steps[mark] for kept in (one.young, one._old) for mark in kept)


def test_what_is_remembered_of_a_replica_has_a_bound_in_memory() -> None:
    """The worst there is: short prompts, each new, each of a session of its own, far more than the limit."""
    limit = 128 * 1024
    one = Sent(limit)
    tracemalloc.start()
    for number in range(2500):
        Trip(asked(b"%09d" % number * 60, f"s{number}")).begin(one, 0.0)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert one.size <= 2 * limit
    assert len(one) <= one.size // ENDS[0]
    assert held < 2 * limit  # bytes of memory are fewer than the bytes of prompts they stand for


def test_no_engine_can_make_it_remember_without_end() -> None:
    one = Sent()
    one.has_room(10**12)
    assert one.limit == MOST
    one.has_room(100_000)
    assert one.limit == 100_000 * TOKEN


def test_a_prompt_of_any_length_has_few_marks() -> None:
    assert len(asked(b"x" * 8 * 1024 * 1024).marks) == len(ENDS) < 200
    assert sys.getsizeof(ENDS) < 4096


def test_what_was_not_used_for_longest_is_forgotten_first() -> None:
    first, second, third, fourth = (asked(bytes([letter]) * 4000) for letter in b"abcd")
    one = sent(first, second, limit=7200)
    for more in (third, first, fourth):
        Trip(more).begin(one, 0.0)
        assert one.known(more) == 3584
    assert (one.known(first), one.known(second)) == (3584, 0)


def test_tenants_and_models_know_nothing_of_each_other() -> None:
    """X15"""
    one = sent(asked(b"a" * 4000, "s", tenant="t1"))
    assert one.known(asked(b"a" * 4000, tenant="t1"))
    for other in (asked(b"a" * 4000, "s", tenant="t2"), asked(b"a" * 4000, "s", model="other")):
        assert one.known(other) == 0
        assert not one.knows(other.session)
    assert asked(b"", "1s", tenant="t").session != asked(b"", "s", tenant="t1").session


def test_options_before_a_prompt_do_not_change_it() -> None:
    text = b"x" * 3000
    one = sent(prompt("t", "m", None, b'{"stream":true,"messages":[' + text + b"]}"))
    assert one.known(prompt("t", "m", None, b'{"seed":17,"stream":false,"messages":[' + text + b'],"n":1}')) == 2560
    assert one.known(prompt("t", "m", None, b'{"stream":true,"messages":[y' + text + b"]}")) == 0


def test_every_way_of_writing_a_prompt_is_found() -> None:
    for key in (b"messages", b"prompt", b"input", b"system", b"instructions", b"tools"):
        body = b'"' + key + b'":"' + b"x" * 3000
        assert prompt("t", "m", None, b'{"top_k":1,' + body).marks == prompt("t", "m", None, b"{" + body).marks


def test_a_session_is_known_whatever_its_prompt_begins_with() -> None:
    one = sent(asked(b"12:00 " + b"a" * 3000, "chat"))
    later = asked(b"12:01 " + b"a" * 4000, "chat")
    assert one.knows(later.session)
    assert 3000 < one.known(later) < 3100
    assert one.known(asked(b"12:01 " + b"a" * 4000, "another")) == 0


def test_what_lies_ahead_is_counted_until_the_answer_begins() -> None:
    one = Sent()
    long, again = Trip(asked(b"a" * 4000)), Trip(asked(b"a" * 4100))
    long.begin(one, 0.0)
    before = one.ahead
    assert before > 4000
    again.begin(one, 0.0)
    assert one.ahead - before < 600  # the rest will be known by then
    long.over()
    long.over()
    again.over()
    assert one.ahead == 0


def test_a_request_that_failed_there_was_not_read_there() -> None:
    known, more = asked(b"a" * 2000), asked(b"a" * 4000, "chat")
    one, other = sent(known), Sent()
    ahead, size = one.ahead, one.size
    trip = Trip(more)
    trip.begin(one, 0.0)
    trip.failed()
    assert (one.known(more), one.ahead, one.size) == (1536, ahead, size)
    assert not one.knows(more.session)
    trip.begin(other, 0.0)
    assert other.knows(more.session)
    trip.over()
    assert other.ahead == 0


def test_a_replica_that_went_away_holds_nothing() -> None:
    one = sent(asked(b"a" * 4000, "chat"))
    one.forget()
    assert (one.known(asked(b"a" * 4000, "chat")), one.size, len(one)) == (0, 0, 0)


def test_work_given_long_ago_counts_less() -> None:
    one = Sent()
    trip = Trip(asked(b"a" * 4000))
    trip.begin(one, 100.0)
    at_once = one.given(100.0)
    assert at_once > 4000 + REQUEST
    assert abs(one.given(100.0 + HALF) - at_once / 2) < 1
    assert one.given(100_000.0) < 1
