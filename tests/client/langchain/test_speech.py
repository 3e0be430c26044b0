"""However an answer is cut into pieces, the chunks add up to the same message."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk

from penstock.client.answer import Piece, Source
from penstock.client.ask import ToolCall
from penstock.client.langchain.speech import Speech, joined
from penstock.types import Kind, Usage

SOURCE = Source(Kind.VLLM, "http://engine", "m")
TEXTS = st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=8)
CALLS = st.lists(st.sampled_from(["a", "b"]), max_size=3)


def pieces(parts: list[tuple[str, str]], calls: list[str], *, apart: bool) -> list[Piece]:
    """As an engine sends them: content, the end with its calls, and the counts with it or after it."""
    called = tuple(ToolCall(name, '{"x": 1}', f"id{number}") for number, name in enumerate(calls))
    said = [Piece(source=SOURCE, text=text, thinking=thinking) for text, thinking in parts]
    usage = Usage(3, len(parts))
    if apart:
        end = Piece(source=SOURCE, finish="stop", tool_calls=called)
        return [*said, end, Piece(source=SOURCE, usage=usage)]
    return [*said, Piece(source=SOURCE, finish="stop", tool_calls=called, usage=usage)]


@given(TEXTS, CALLS, st.booleans())
def test_messages(parts: list[tuple[str, str]], calls: list[str], apart: bool) -> None:  # noqa: FBT001 - a strategy's
    speech = Speech(thinking=True, logprobs=False)
    chunks = [chunk for piece in pieces(parts, calls, apart=apart) if (chunk := speech.message(piece))]
    whole: ChatGenerationChunk = speech.last_message()
    for chunk in reversed(chunks):
        whole = chunk + whole
    message = whole.message
    assert isinstance(message, AIMessageChunk)
    assert message.content == "".join(text for text, _ in parts)
    assert message.additional_kwargs.get("reasoning_content", "") == "".join(thinking for _, thinking in parts)
    assert [call["name"] for call in message.tool_calls] == calls
    assert message.usage_metadata is not None
    assert message.usage_metadata["output_tokens"] == len(parts)
    assert (whole.generation_info or {})["finish_reason"] == "stop"


@given(TEXTS, st.booleans())
def test_text(parts: list[tuple[str, str]], apart: bool) -> None:  # noqa: FBT001
    speech = Speech(thinking=True, logprobs=False)
    chunks = [chunk for piece in pieces(parts, [], apart=apart) if (chunk := speech.text(piece))]
    whole = joined([*chunks, speech.last_text()])
    assert whole.text == "".join(text for text, _ in parts)
    info = whole.generation_info or {}
    assert info.get("thinking", "") == "".join(thinking for _, thinking in parts)
    assert (info["eval_count"], info["finish_reason"], info["done"]) == (len(parts), "stop", True)
