"""Anthropic's Messages and OpenAI's Responses as vLLM serves them, streamed and whole. Pure."""

from __future__ import annotations

import time

import msgspec

from penstock.faults.asked import Asked
from penstock.faults.reply import Reply, event
from penstock.faults.spoken import Spoken

Shape = dict[str, object]
# anything else, as an abort, is null
_STOP = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def messages(asked: Asked, spoken: Spoken, number: int) -> Reply:
    """`/v1/messages`."""
    prompt, said = len(asked.prompt_tokens), len(spoken.pieces)
    stop = _STOP.get(spoken.finish)
    blocks = _blocks(spoken, number)
    head: Shape = {"id": f"chatcmpl-{number:08x}", "type": "message", "role": "assistant", "model": asked.model}
    if not asked.stream:
        counts = {"input_tokens": prompt, "output_tokens": said}
        whole = {**head, "content": blocks, "stop_reason": stop, "stop_sequence": None, "usage": counts}
        return Reply(tokens=said, whole=msgspec.json.encode(whole))
    begin = {**head, "content": [], "stop_reason": None, "stop_sequence": None}
    begin["usage"] = {"input_tokens": prompt, "output_tokens": 0}
    opening = [event("message_start", {"type": "message_start", "message": begin})]
    pieces: list[bytes] = []
    index, open_kind = -1, ""
    for piece in spoken.pieces:
        before = b""
        kind = f"{piece.kind}{piece.call}"
        if kind != open_kind:
            before = _stop_block(index) if open_kind else b""
            index, open_kind = index + 1, kind
            block = {"text": {"type": "text", "text": ""}, "reasoning": {"type": "thinking", "thinking": ""}}.get(
                piece.kind,
                {"type": "tool_use", "id": f"toolu_{number:08x}{piece.call}", "name": piece.name, "input": {}},
            )
            before += event(
                "content_block_start", {"type": "content_block_start", "index": index, "content_block": block}
            )
        delta = {
            "text": {"type": "text_delta", "text": piece.text},
            "reasoning": {"type": "thinking_delta", "thinking": piece.text},
            "call": {"type": "input_json_delta", "partial_json": piece.text},
        }[piece.kind]
        pieces.append(
            before + event("content_block_delta", {"type": "content_block_delta", "index": index, "delta": delta})
        )
    tail: Shape = {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}}
    tail["usage"] = {"input_tokens": prompt, "output_tokens": said}
    closing = (
        (_stop_block(index) if open_kind else b"") + event("message_delta", tail),
        event("message_stop", {"type": "message_stop"}),
    )
    return Reply(tokens=said, stream=True, opening=tuple(opening), pieces=tuple(pieces), closing=closing)


def responses(asked: Asked, spoken: Spoken, identity: str) -> Reply:
    """`/v1/responses`; the whole form is also what a later GET of `identity` returns."""
    text = spoken.joined("text")
    item: Shape = {"id": f"msg_{identity}", "type": "message", "role": "assistant", "status": "completed"}
    item["content"] = [{"type": "output_text", "text": text, "annotations": [], "logprobs": None}]
    calls: list[Shape] = [
        {
            "id": f"fc_{identity}{index}",
            "call_id": f"call_{identity}{index}",
            "type": "function_call",
            "name": tool.name,
            "arguments": tool.arguments,
            "status": "completed",
        }
        for index, tool in enumerate(spoken.tools)
    ]
    done = _response(asked, spoken, identity, calls or [item])
    whole = msgspec.json.encode(done)
    said = len(spoken.pieces)
    if not asked.stream:
        return Reply(tokens=said, whole=whole)
    begun = {**done, "status": "in_progress", "output": [], "usage": None}
    number = iter(range(1_000_000))

    def note(name: str, **fields: object) -> bytes:
        return event(name, {"type": name, "sequence_number": next(number), **fields})

    where: Shape = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    part: Shape = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    opening = (
        note("response.created", response=begun),
        note("response.in_progress", response=begun),
        note("response.output_item.added", output_index=0, item={**item, "status": "in_progress", "content": []}),
        note("response.content_part.added", **where, part=part),
    )
    pieces = tuple(
        note("response.output_text.delta", **where, delta=piece.text, logprobs=[]) for piece in spoken.pieces
    )
    closing = (
        note("response.output_text.done", **where, text=text, logprobs=[]),
        note("response.content_part.done", **where, part={**part, "text": text}),
        note("response.output_item.done", output_index=0, item=item),
        note("response.completed", response=done),
    )
    return Reply(tokens=said, whole=whole, stream=True, opening=opening, pieces=pieces, closing=closing)


def _blocks(spoken: Spoken, number: int) -> list[Shape]:
    blocks: list[Shape] = []
    if thought := spoken.joined("reasoning"):
        blocks.append({"type": "thinking", "thinking": thought})
    if text := spoken.joined("text"):
        blocks.append({"type": "text", "text": text})
    for index, tool in enumerate(spoken.tools):
        given = msgspec.json.decode(tool.arguments)
        blocks.append({"type": "tool_use", "id": f"toolu_{number:08x}{index}", "name": tool.name, "input": given})
    return blocks


def _stop_block(index: int) -> bytes:
    return event("content_block_stop", {"type": "content_block_stop", "index": index})


def _response(asked: Asked, spoken: Spoken, identity: str, output: list[Shape]) -> Shape:
    prompt, said = len(asked.prompt_tokens), len(spoken.pieces)
    return {
        "id": identity,
        "created_at": int(time.time()),
        "incomplete_details": {"reason": "max_output_tokens"} if spoken.finish == "length" else None,
        "instructions": None,
        "metadata": None,
        "model": asked.model,
        "object": "response",
        "output": output,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "background": False,
        "max_output_tokens": asked.limit,
        "previous_response_id": None,
        "status": "incomplete" if spoken.finish == "length" else "completed",
        "usage": {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": said,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt + said,
        },
        "user": None,
    }
