"""Joining a begun answer and its rest: every cut, any chunking, and the whole comes out or an error does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.protocols.midstream_wire import CHAT, COMPLETIONS, TO, Model, joined

from penstock.errors import BrokenAnswer, Diverged, EngineRefused
from penstock.protocols.dialect import Destination
from penstock.protocols.midstream import Joined
from penstock.protocols.remainder import How
from penstock.types import Kind

USAGE = {"include_usage": True}
TURNS = [{"role": "user", "content": "hello"}]
WORDS = [b"The", b" gate", b" opens", b", ", "é".encode(), "💧".encode()[:2], "💧".encode()[2:], b" end", b"."]


def body(path: str, **fields: object) -> dict[str, Any]:
    asked = {"messages": TURNS} if path == CHAT else {"prompt": "hello", "max_tokens": 64}
    return {"model": "m", "stream": True, "stream_options": USAGE, **asked, **fields}


def whole(model: Model, path: str, asked: dict[str, Any]) -> bytes:
    """What a client gets when nothing breaks."""
    reader, sent = joined(path, asked)
    return reader.feed(b"".join(model.events(path, sent))) + reader.close()


def alike(answer: bytes) -> tuple[object, ...]:
    """What must not depend on how many engines there were."""
    data = [event.removeprefix(b"data: ") for event in answer.split(b"\n\n") if event]
    assert data.pop() == b"[DONE]"
    events = [json.loads(one) for one in data]
    assert all(one.get("prompt_token_ids") is None for one in events)
    text, roles, finish, usage = "", 0, [], None
    for one in events:
        usage = one.get("usage") or usage
        for choice in one["choices"]:
            assert choice.get("token_ids") is None
            delta = choice.get("delta", {})
            text += choice.get("text") or delta.get("content") or ""
            roles += "role" in delta
            finish += [choice["finish_reason"]] if choice["finish_reason"] else []
    heads = {(one["id"], one["object"], one["created"], one["model"]) for one in events}
    assert len(heads) == 1
    return text, roles, finish, usage


def go_on(reader: Joined, model: Model, together: int = 1, to: Destination = TO) -> bytes:
    """What another engine says, or what is left to be said without one."""
    ending = reader.ending()
    if ending is not None:
        return ending
    how = reader.how(to, refuses=False)
    assert isinstance(how, How), how
    asked = reader.rest(how, to)
    return reader.feed(b"".join(model.events(asked.path, asked.body, together))) + reader.close()


def sliced(data: bytes, cuts: list[int]) -> list[bytes]:
    """The same bytes in other pieces."""
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize("fields", [{}, {"max_tokens": 7}, {"min_tokens": 3, "temperature": 0}])
def test_after_every_byte(path: str, fields: dict[str, object]) -> None:
    """Cut anywhere: inside events, characters, between the finish, the usage and `[DONE]`."""
    model = Model(WORDS)
    asked = body(path, **fields)
    expected = alike(whole(model, path, asked))
    reader, sent = joined(path, asked)
    stream = b"".join(model.events(path, sent))
    begun = stream.index(b'"The"')
    ends = {at + near for at in range(begun, len(stream)) if stream[at - 2 : at] == b"\n\n" for near in (-2, 0, 1, 30)}
    for cut in sorted(ends | set(range(begun + 40, len(stream), 23)) | {len(stream)}):
        reader, _ = joined(path, asked)
        first = reader.feed(stream[:cut])
        if not reader.content:
            continue
        rest = reader.close() if reader.finished else go_on(reader, model)
        assert alike(first + rest) == expected, cut


def test_a_prompt_of_tokens() -> None:
    """The gateway cannot count its answers beforehand; there is one."""
    model = Model(WORDS)
    asked = body(COMPLETIONS, prompt=[900, 901, 902])
    expected = alike(whole(model, COMPLETIONS, asked))
    for cut in range(1, len(WORDS) + 3):
        reader, sent = joined(COMPLETIONS, asked)
        told = reader.feed(b"".join(model.events(COMPLETIONS, sent)[:cut]))
        told += reader.close() if reader.finished else go_on(reader, model)
        assert alike(told) == expected, cut


ATOMS = (
    [b"a"],
    [b"b "],
    [b"ab"],
    [b"a", b"b"],
    ["é".encode()[:1], "é".encode()[1:]],
    [bytes([one]) for one in "💧".encode()],
)
TOKENS = st.lists(st.sampled_from(ATOMS), min_size=1, max_size=10).map(
    lambda atoms: [token for atom in atoms for token in atom]
)
CUT = st.tuples(st.integers(2, 40), st.sampled_from([0, 0, 0, 7, 60]))
"""Whole events, and bytes of the next one."""


def cut_off(events: list[bytes], cut: tuple[int, int]) -> bytes:
    """As far as it came."""
    whole = cut[0] % (len(events) + 1)
    return b"".join(events[:whole]) + b"".join(events[whole:])[: cut[1]]


@given(
    tokens=TOKENS,
    cuts=st.tuples(CUT, CUT),
    pieces=st.lists(st.integers(0, 5000), max_size=6),
    together=st.integers(1, 4),
    stop=st.lists(
        st.sampled_from(["az", "b az", "zz", "éb", "aab", "b 💧"]) | st.text("ab é", min_size=1, max_size=3), max_size=2
    ),
    shown=st.booleans(),
    path=st.sampled_from([CHAT, COMPLETIONS]),
)
def test_any_answer_any_cut_any_chunking(
    tokens: list[bytes],
    cuts: tuple[tuple[int, int], tuple[int, int]],
    pieces: list[int],
    together: int,
    stop: list[str],
    *,
    shown: bool,
    path: str,
) -> None:
    """Two breaks, stop strings held back or shown, events of several tokens: the whole answer, byte for byte."""
    model = Model(tokens)
    asked = body(path, temperature=0, stop=stop, include_stop_str_in_output=shown)
    expected = alike(whole(model, path, asked))
    reader, sent = joined(path, asked)
    told = b"".join(map(reader.feed, sliced(cut_off(model.events(path, sent, together), cuts[0]), pieces)))
    if not reader.content:
        return
    if not reader.finished:
        how = reader.how(TO, refuses=False)
        assert isinstance(how, How), how
        rest = reader.rest(how, TO)
        told += b"".join(
            map(reader.feed, sliced(cut_off(model.events(rest.path, rest.body, together), cuts[1]), pieces))
        )
    told += reader.close() if reader.finished else go_on(reader, model, together)
    assert alike(told) == expected


def test_restart_leaves_out_what_was_sent() -> None:
    model = Model(WORDS)
    asked = body(CHAT)
    expected = alike(whole(model, CHAT, asked))
    for cut in range(3, len(WORDS)):
        reader, sent = joined(CHAT, asked, "restart")
        told = reader.feed(b"".join(model.events(CHAT, sent)[:cut]))
        assert reader.how(TO, refuses=True) is How.REPLAY
        assert alike(told + go_on(reader, model)) == expected


@pytest.mark.parametrize(
    "other", [[*WORDS[:2], b" closes", *WORDS[3:]], WORDS[:1], [WORDS[0], b" gat", b"X"]], ids=["other", "less", "cut"]
)
def test_a_different_telling_is_an_error_before_anything_of_it_is_sent(other: list[bytes]) -> None:
    reader, sent = joined(CHAT, body(CHAT), "restart")
    reader.feed(b"".join(Model(WORDS).events(CHAT, sent)[:4]))
    rest = reader.rest(How.REPLAY, TO)
    with pytest.raises(Diverged) as raised:
        reader.feed(b"".join(Model(other).events(CHAT, rest.body)))
    assert raised.value.before == b""


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"structured_outputs": {"json": {}}}, "structured_outputs"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"bad_words": ["x"]}, "bad_words"),
        ({"a_field_of_tomorrow": 1}, "a_field_of_tomorrow"),
        ({"max_tokens": "50.0"}, "max_tokens"),
        ({"messages": [{"role": "user", "content": ["text"]}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages"),
        ({"seed": 3, "temperature": 0.7}, ""),
        ({"response_format": {"type": "json_object"}, "temperature": 0}, ""),
    ],
)
def test_what_means_something_else_in_the_middle_is_asked_again_or_refused(fields: dict[str, Any], named: str) -> None:
    reader, sent = joined(CHAT, body(CHAT, **fields))
    reader.feed(b"".join(Model(WORDS).events(CHAT, sent)[:4]))
    how = reader.how(TO, refuses=False)
    assert how is How.REPLAY if not named else f"`{named}`" in how


def test_who_is_not_asked() -> None:
    reader, sent = joined(CHAT, body(CHAT, max_tokens=50))
    reader.feed(b"".join(Model(WORDS).events(CHAT, sent)[:4]))
    assert reader.how(TO, refuses=False) is How.TOKENS
    assert "refuses" in reader.how(TO, refuses=True)
    assert "too short" in reader.how(Destination(kind=Kind.VLLM, model="m", window=30), refuses=False)
    assert "is not asked" in reader.how(Destination(kind=Kind.EMBEDDED, model="m", window=4096), refuses=False)


def test_without_ids_a_chat_is_gone_on_with_as_its_last_message() -> None:
    """Where nothing has to be counted, and the text is not one that a template would trim."""
    asked = body(CHAT)
    events = [json.loads(one[6:]) for one in Model(WORDS).events(CHAT, json.dumps(asked).encode())[:-1]]
    stream = [b"data: " + json.dumps(one).encode() + b"\n\n" for one in events]
    reader, _ = joined(CHAT, asked)
    reader.feed(b"".join(stream[:4]))
    assert reader.how(TO, refuses=False) is How.PREFILL
    rest = json.loads(reader.rest(How.PREFILL, TO).body)
    assert rest["messages"][-1] == {"role": "assistant", "content": "The gate opens"}
    assert (rest["continue_final_message"], rest["add_generation_prompt"]) == (True, False)
    assert b'"content":", "' in reader.feed(b"".join(stream[4:]))
    for fields in ({"max_tokens": 5}, {"n": 2}):
        other, _ = joined(CHAT, body(CHAT, **fields))
        other.feed(b"".join(stream[:4]))
        assert isinstance(other.how(TO, refuses=False), str)
    trimmed, _ = joined(CHAT, asked)
    trimmed.feed(b"".join(stream[:5]))
    assert isinstance(trimmed.how(TO, refuses=False), str)


@pytest.mark.parametrize("fields", [{"n": 2}, {"prompt": ["a", "b"]}, {"prompt": [[1], [2]]}])
def test_several_answers_are_not_gone_on_with(fields: dict[str, Any]) -> None:
    reader, sent = joined(COMPLETIONS, body(COMPLETIONS, **{"temperature": 0, **fields}), "restart")
    reader.feed(
        b"".join(Model(WORDS).events(COMPLETIONS, json.dumps({**json.loads(sent), "prompt": "p"}).encode())[:3])
    )
    assert "several answers" in reader.how(TO, refuses=False)


def test_several_answers_that_nobody_asked_for() -> None:
    reader, _ = joined(CHAT, body(CHAT), "restart")
    for index in (0, 1):
        chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        choice = {"index": index, "delta": {"content": "a"}, "finish_reason": None}
        reader.feed(b"data: " + json.dumps({**chunk, "choices": [choice]}).encode() + b"\n\n")
    assert "several answers" in reader.how(TO, refuses=False)


def test_faults_keep_what_came_before() -> None:
    reader, sent = joined(CHAT, body(CHAT))
    events = Model(WORDS).events(CHAT, sent)
    with pytest.raises(BrokenAnswer) as broken:
        reader.feed(b"".join(events[:3]) + b'data: {"choices": [\n\n')
    assert b" gate" in broken.value.before
    with pytest.raises(EngineRefused):
        reader.feed(b'data: {"error": {"message": "dead"}}\n\n')
    given_up = events[3].replace(b'"finish_reason":null', b'"finish_reason":"abort"')
    with pytest.raises(BrokenAnswer, match="gave the answer up"):
        reader.feed(given_up)
    assert reader.how(TO, refuses=False) is How.TOKENS


def test_what_the_client_was_not_given_is_not_remembered() -> None:
    """An event that the reader of the client's protocol refuses, for a member that nobody else looks at."""
    model = Model(WORDS)
    asked = body(CHAT)
    expected = alike(whole(model, CHAT, asked))
    reader, sent = joined(CHAT, asked)
    events = model.events(CHAT, sent)
    told = reader.feed(b"".join(events[:3]))
    with pytest.raises(BrokenAnswer):
        reader.feed(events[3].replace(b'"logprobs":null', b'"else":"\xf0\x9f","logprobs":null'))
    assert alike(told + go_on(reader, model)) == expected


def test_a_client_that_asks_for_ids_gets_them_once() -> None:
    model = Model(WORDS)
    asked = body(CHAT, return_token_ids=True)
    for cut in range(3, len(WORDS) + 1):
        reader, sent = joined(CHAT, asked)
        told = reader.feed(b"".join(model.events(CHAT, sent)[:cut])) + go_on(reader, model)
        events = [json.loads(one[6:]) for one in told.split(b"\n\n") if one and b"[DONE]" not in one]
        ids = [number for one in events for choice in one["choices"] for number in choice.get("token_ids") or ()]
        assert ids == model.ids(), cut
        assert sum(one.get("prompt_token_ids") is not None for one in events) == 1


def test_tool_calls_and_reasoning_are_compared_piece_by_piece() -> None:
    def event(**delta: object) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
        head = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
        return b"data: " + json.dumps(head).encode() + b"\n\n"

    def call(arguments: str, **more: object) -> bytes:
        return event(
            tool_calls=[{"index": 0, "function": {"arguments": arguments, **more}, **({"id": "c2"} if more else {})}]
        )

    reader, _ = joined(CHAT, body(CHAT, temperature=0), "restart")
    reader.feed(event(role="assistant", content="") + event(reasoning="so") + call("", name="turn") + call('{"by'))
    reader.rest(How.REPLAY, TO)
    again = event(role="assistant", content="") + event(reasoning="s") + event(reasoning="o") + call("", name="turn")
    assert reader.feed(again + call('{"b')) == b""
    told = reader.feed(call('y": 1}'))
    delta = json.loads(told[6:])["choices"][0]["delta"]
    assert delta == {"tool_calls": [{"index": 0, "function": {"arguments": '": 1}'}}]}
