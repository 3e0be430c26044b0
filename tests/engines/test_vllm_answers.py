"""The shapes of vLLM's answers, without the gateway: what a relay may rely on when it edits as little as it can."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from tests.engines.asking import WEATHER, Json, chat, get, post, soon_over
from tests.engines.servers import GUIDE, LLAMA, VllmServer

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
USAGE: Json = {"stream_options": {"include_usage": True}}
TOKENS: Json = {"return_token_ids": True}
CHUNK = {"id", "object", "created", "model", "choices"}


def chunks_of(server: VllmServer, **fields: object) -> list[Json]:
    answer = post(server.port, CHAT, chat("Hello", model=GUIDE, stream=True, max_tokens=3, **fields))
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    return answer.chunks


def test_the_answer_bears_the_first_served_name_whatever_was_asked(vllm_generate: VllmServer) -> None:
    """A gateway that shows the caller's own name has to write it into the answer and into each chunk."""
    assert post(vllm_generate.port, CHAT, chat("Hello", model=GUIDE)).json["model"] == LLAMA
    assert {chunk["model"] for chunk in chunks_of(vllm_generate)} == {LLAMA}


def test_the_model_may_be_left_out(vllm_generate: VllmServer) -> None:
    assert post(vllm_generate.port, CHAT, chat("Hello")).status == 200


def test_unknown_fields_are_ignored(vllm_generate: VllmServer) -> None:
    plain = post(vllm_generate.port, CHAT, chat("Hello", model=GUIDE)).json
    odd = post(vllm_generate.port, CHAT, chat("Hello", model=GUIDE, made_up=1, cache_salt="tenant", priority=0)).json
    assert odd["choices"] == plain["choices"]


def test_greedy_is_the_same_twice_and_streamed(vllm_generate: VllmServer) -> None:
    once = post(vllm_generate.port, CHAT, chat("Hello", model=GUIDE, max_tokens=3)).json["choices"][0]
    again = post(vllm_generate.port, CHAT, chat("Hello", model=GUIDE, max_tokens=3)).json["choices"][0]
    streamed = [chunk["choices"][0] for chunk in chunks_of(vllm_generate)]
    assert once["message"] == again["message"]
    assert "".join(choice["delta"]["content"] for choice in streamed) == once["message"]["content"]
    assert streamed[-1]["finish_reason"] == once["finish_reason"]


def test_stream_without_usage(vllm_generate: VllmServer) -> None:
    """The role comes alone; the reason to finish comes with the last text; the fingerprint comes last."""
    first, *middle, last = chunks_of(vllm_generate)
    assert set(first) == CHUNK | {"prompt_token_ids", "prompt_text"}
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert set(first["choices"][0]) == {"index", "delta", "logprobs", "finish_reason"}
    for chunk in middle:
        assert set(chunk) == CHUNK
        assert set(chunk["choices"][0]) == {"index", "delta", "logprobs", "finish_reason", "token_ids"}
    assert set(last) == CHUNK | {"system_fingerprint"}
    assert set(last["choices"][0]) == {"index", "delta", "logprobs", "finish_reason", "stop_reason", "token_ids"}
    assert last["choices"][0]["finish_reason"] in {"length", "stop"}


def test_a_stream_that_stops_by_itself(vllm_generate: VllmServer) -> None:
    """The token that ends an answer has no text; it comes in a chunk of its own, with `finish_reason` and an empty `delta`."""
    asked = chat("What is Penstock?", model=GUIDE, stream=True, max_tokens=128, **TOKENS)
    *_, last = post(vllm_generate.port, CHAT, asked).chunks
    assert last["choices"][0]["delta"] == {}
    assert last["choices"][0]["finish_reason"] == "stop"
    assert len(last["choices"][0]["token_ids"]) == 1


def test_stream_with_usage(vllm_generate: VllmServer) -> None:
    """One more chunk, without choices; the others carry no `usage` at all, not even null; the fingerprint moves to it."""
    *others, last = chunks_of(vllm_generate, **USAGE)
    assert set(last) == CHUNK | {"usage", "system_fingerprint"}
    assert last["choices"] == []
    assert set(last["usage"]) == {"prompt_tokens", "completion_tokens", "total_tokens"}
    assert all("usage" not in chunk and "system_fingerprint" not in chunk for chunk in others)


def test_stream_with_usage_in_every_chunk(vllm_generate: VllmServer) -> None:
    chunks = chunks_of(vllm_generate, stream_options={"include_usage": True, "continuous_usage_stats": True})
    assert all("usage" in chunk for chunk in chunks)
    assert [chunk["usage"]["completion_tokens"] for chunk in chunks[:2]] == [0, 1]


def shapes(chunks: list[Json]) -> list[tuple[frozenset[str], frozenset[str]]]:
    """The keys of chunks in their order; those alike side by side are one, for a busy engine says two tokens at once."""
    found = [(frozenset(one), frozenset(one["choices"][0])) for one in chunks]
    return [one for one, _ in itertools.groupby(found)]


def test_token_ids_are_null_unless_asked_for(vllm_generate: VllmServer) -> None:
    """The keys are there either way, so injecting `return_token_ids` changes values and no shape."""
    plain, asked = chunks_of(vllm_generate), chunks_of(vllm_generate, **TOKENS)
    assert shapes(plain) == shapes(asked)
    assert plain[0]["prompt_token_ids"] is None
    assert all(chunk["choices"][0]["token_ids"] is None for chunk in plain[1:])
    tokens = [token for chunk in asked[1:] for token in chunk["choices"][0]["token_ids"]]
    whole = post(vllm_generate.port, CHAT, chat("Hello", model=GUIDE, max_tokens=3, **TOKENS)).json
    assert tokens == whole["choices"][0]["token_ids"]
    assert asked[0]["prompt_token_ids"] == whole["prompt_token_ids"]


def test_completions_stream(vllm_generate: VllmServer) -> None:
    body: Json = {
        "model": GUIDE,
        "prompt": "Hello",
        "max_tokens": 2,
        "temperature": 0,
        "stream": True,
        **USAGE,
        **TOKENS,
    }
    first, second, last = post(vllm_generate.port, COMPLETIONS, body).chunks
    keys = {"index", "text", "logprobs", "finish_reason", "stop_reason", "prompt_token_ids", "token_ids"}
    assert set(first["choices"][0]) == set(second["choices"][0]) == keys
    assert first["choices"][0]["prompt_token_ids"]
    assert second["choices"][0]["prompt_token_ids"] is None
    assert (last["choices"], last["usage"]["completion_tokens"]) == ([], 2)


def test_a_prompt_of_tokens(vllm_generate: VllmServer) -> None:
    """A completion may go on from exactly the tokens that were made so far, which is how a broken stream continues."""
    body: Json = {"model": GUIDE, "prompt": "Hello", "max_tokens": 6, "temperature": 0, "min_tokens": 6, **TOKENS}
    whole = post(vllm_generate.port, COMPLETIONS, body).json["choices"][0]
    prompt = whole["prompt_token_ids"] + whole["token_ids"][:2]
    rest = post(vllm_generate.port, COMPLETIONS, {**body, "prompt": prompt, "max_tokens": 4, "min_tokens": 4}).json
    assert rest["choices"][0]["token_ids"] == whole["token_ids"][2:]


def test_a_message_is_continued(vllm_generate: VllmServer) -> None:
    whole = post(vllm_generate.port, CHAT, chat("Hello", model=GUIDE, max_tokens=6, min_tokens=6, **TOKENS)).json
    tokens = whole["choices"][0]["token_ids"]
    begun = post(vllm_generate.port, "/detokenize", {"model": GUIDE, "tokens": tokens[:3]}).json["prompt"]
    body = chat("Hello", model=GUIDE, max_tokens=3, add_generation_prompt=False, continue_final_message=True, **TOKENS)
    body["messages"].append({"role": "assistant", "content": begun})
    rest = post(vllm_generate.port, CHAT, body).json
    # The engine tokenises the text again and leaves off blanks at its end, so the prompt may differ from the tokens made so far.
    assert rest["prompt_token_ids"][: len(whole["prompt_token_ids"])] == whole["prompt_token_ids"]
    assert rest["usage"]["completion_tokens"] <= 3


def test_continuing_with_a_generation_prompt_is_refused(vllm_generate: VllmServer) -> None:
    refused = post(vllm_generate.port, CHAT, chat("Hello", model=GUIDE, continue_final_message=True))
    assert refused.status == 400
    assert "continue_final_message and add_generation_prompt are not compatible" in refused.json["error"]["message"]


def test_an_answer_in_a_schema(vllm_generate: VllmServer) -> None:
    schema = {"name": "weather", "strict": True, "schema": WEATHER["function"]["parameters"]}
    asked = chat("Hello", model=GUIDE, max_tokens=64, response_format={"type": "json_schema", "json_schema": schema})
    choice = post(vllm_generate.port, CHAT, asked).json["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert json.loads(choice["message"]["content"])["unit"] in {"celsius", "fahrenheit"}


def test_a_choice_of_answers(vllm_generate: VllmServer) -> None:
    asked = chat("Hello", model=GUIDE, structured_outputs={"choice": ["alpha", "beta"]})
    assert post(vllm_generate.port, CHAT, asked).json["choices"][0]["message"]["content"] in {"alpha", "beta"}


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_a_tool_is_called(vllm_generate: VllmServer, guide: Path, choice: str | Json) -> None:
    """`required` ends with tool_calls, a named tool with stop, as OpenAI does."""
    fields: Json = {"model": GUIDE, "max_tokens": 96, "tools": [WEATHER], "tool_choice": choice}
    asked = chat("Hello", **fields, logit_bias=soon_over(guide))
    answered = post(vllm_generate.port, CHAT, asked).json["choices"][0]
    assert answered["finish_reason"] == ("tool_calls" if choice == "required" else "stop")
    (call,) = answered["message"]["tool_calls"]
    assert (call["type"], call["function"]["name"]) == ("function", "get_weather")
    assert json.loads(call["function"]["arguments"])["unit"] in {"celsius", "fahrenheit"}
    deltas = [
        chunk["choices"][0]["delta"] for chunk in post(vllm_generate.port, CHAT, {**asked, "stream": True}).chunks
    ]
    calls = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert calls[0]["function"] == {"name": "get_weather"}
    assert calls[0]["id"]
    assert all(set(later) == {"index", "function"} for later in calls[1:])
    streamed = "".join(later["function"]["arguments"] for later in calls[1:])
    assert json.loads(streamed) == json.loads(call["function"]["arguments"])


def test_the_result_of_a_tool_is_taken(vllm_generate: VllmServer) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"unit": "celsius"}'}}
    body = chat("Hello", model=GUIDE, tools=[WEATHER])
    body["messages"] += [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "21"},
    ]
    assert post(vllm_generate.port, CHAT, body).status == 200


def test_responses_are_answered_and_not_kept(vllm_generate: VllmServer) -> None:
    body: Json = {"model": GUIDE, "input": "Hello", "max_output_tokens": 4, "temperature": 0}
    answer = post(vllm_generate.port, "/v1/responses", body).json
    assert answer["object"] == "response"
    assert answer["output"][0]["content"][0]["type"] == "output_text"
    lost = get(vllm_generate.port, f"/v1/responses/{answer['id']}")
    assert (lost.status, lost.json["error"]["param"]) == (404, "response_id")


def test_responses_stream_named_events_without_done(vllm_generate: VllmServer) -> None:
    body: Json = {"model": GUIDE, "input": "Hello", "max_output_tokens": 4, "temperature": 0, "stream": True}
    answer = post(vllm_generate.port, "/v1/responses", body)
    kinds = [json.loads(data)["type"] for data in answer.data]
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    assert answer.body.count(b"event: ") == len(kinds)


def test_messages_in_the_anthropic_form(vllm_generate: VllmServer) -> None:
    body = chat("Hello", model=GUIDE)
    answer = post(vllm_generate.port, "/v1/messages", body).json
    counted = post(vllm_generate.port, "/v1/messages/count_tokens", body).json
    assert (answer["type"], answer["content"][0]["type"]) == ("message", "text")
    assert answer["usage"]["input_tokens"] == counted["input_tokens"]
