"""Chat and text completions in vLLM's shapes, streamed and whole. Pure but for the clock in `created`."""

from __future__ import annotations

import time

import msgspec

from penstock.faults.asked import Asked
from penstock.faults.reply import DONE, Reply, data
from penstock.faults.script import Script
from penstock.faults.spoken import Piece, Spoken
from penstock.faults.words import token_id

Shape = dict[str, object]


def usage(asked: Asked, spoken: Spoken) -> dict[str, object]:
    prompt, said = len(asked.prompt_tokens), len(spoken.pieces)
    return {"prompt_tokens": prompt, "total_tokens": prompt + said, "completion_tokens": said}


def chat(script: Script, asked: Asked, spoken: Spoken, number: int) -> Reply:
    head: Shape = {
        "id": f"chatcmpl-{number:08x}",
        "object": "chat.completion.chunk" if asked.stream else "chat.completion",
        "created": int(time.time()),
        "model": asked.model,
    }
    prompt_ids = asked.prompted if asked.ids else None
    if not asked.stream:
        whole = {
            **head,
            "choices": [_choice(asked, spoken)],
            "service_tier": None,
            "system_fingerprint": None,
            "usage": usage(asked, spoken),
            "prompt_logprobs": None,
            "prompt_token_ids": prompt_ids,
            "kv_transfer_params": None,
        }
        if not script.usage:
            del whole["usage"]
        return Reply(tokens=len(spoken.pieces), whole=msgspec.json.encode(whole))
    first: Shape = {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
    opening = {**head, "choices": [first], "prompt_token_ids": prompt_ids}
    last: Shape = {
        "index": 0,
        "delta": {} if spoken.tools else {"content": ""},
        "logprobs": None,
        "finish_reason": spoken.finish,
        "stop_reason": None,
    }
    closing = [data({**head, "choices": [last]})]
    if asked.include_usage and script.usage:
        closing.append(data({**head, "choices": [], "usage": usage(asked, spoken)}))
    return Reply(
        tokens=len(spoken.pieces),
        stream=True,
        opening=(data(opening),),
        pieces=tuple(data({**head, "choices": [_delta(asked, piece, number)]}) for piece in spoken.pieces),
        closing=(*closing, DONE),
    )


def completion(script: Script, asked: Asked, spoken: Spoken, number: int) -> Reply:
    head: Shape = {
        "id": f"cmpl-{number:08x}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": asked.model,
    }
    if not asked.stream:
        choice: Shape = {
            "index": 0,
            "text": spoken.joined("text"),
            "logprobs": _text_logprobs(spoken) if asked.logprobs else None,
            "finish_reason": spoken.finish,
            "stop_reason": None,
            "token_ids": [token_id(piece.token) for piece in spoken.pieces] if asked.ids else None,
            "prompt_logprobs": None,
            "prompt_token_ids": asked.prompted if asked.ids else None,
        }
        whole = {**head, "choices": [choice], "usage": usage(asked, spoken), "kv_transfer_params": None}
        return Reply(tokens=len(spoken.pieces), whole=msgspec.json.encode(whole))

    def chunk(piece: Piece, finish: str | None, *, first: bool = False) -> bytes:
        choice: Shape = {
            "index": 0,
            "text": piece.text,
            "logprobs": None,
            "finish_reason": finish,
            "stop_reason": None,
            "prompt_token_ids": asked.prompted if asked.ids and first else None,
            "token_ids": [token_id(piece.token)] if asked.ids and piece.token else None,
        }
        return data({**head, "choices": [choice]})

    closing = [chunk(Piece("text", ""), spoken.finish, first=not spoken.pieces)]
    if asked.include_usage and script.usage:
        closing.append(data({**head, "choices": [], "usage": usage(asked, spoken)}))
    return Reply(
        tokens=len(spoken.pieces),
        stream=True,
        pieces=tuple(chunk(piece, None, first=not place) for place, piece in enumerate(spoken.pieces)),
        closing=(*closing, DONE),
    )


def call_id(number: int, index: int) -> str:
    return f"chatcmpl-tool-{number:08x}{index:02x}"


def _choice(asked: Asked, spoken: Spoken) -> Shape:
    message: Shape = {
        "role": "assistant",
        "content": None if spoken.tools else spoken.joined("text"),
        "refusal": None,
        "annotations": None,
        "audio": None,
        "function_call": None,
        "reasoning": spoken.joined("reasoning") or None,
    }
    if spoken.tools:
        message["tool_calls"] = [
            {
                "id": call_id(0, index),
                "type": "function",
                "function": {"name": tool.name, "arguments": tool.arguments},
            }
            for index, tool in enumerate(spoken.tools)
        ]
    return {
        "index": 0,
        "message": message,
        "logprobs": {"content": [_logprob(piece) for piece in spoken.pieces]} if asked.logprobs else None,
        "finish_reason": spoken.finish,
        "stop_reason": None,
        "token_ids": [token_id(piece.token) for piece in spoken.pieces] if asked.ids else None,
    }


def _delta(asked: Asked, piece: Piece, number: int) -> Shape:
    if piece.kind == "call":
        call: Shape = {"index": piece.call, "function": {"arguments": piece.text}}
        if piece.name:
            call |= {"id": call_id(number, piece.call), "type": "function"}
            call["function"] = {"name": piece.name, "arguments": ""}
        delta: Shape = {"tool_calls": [call]}
    else:
        delta = {"reasoning" if piece.kind == "reasoning" else "content": piece.text}
    choice: Shape = {
        "index": 0,
        "delta": delta,
        "logprobs": {"content": [_logprob(piece)]} if asked.logprobs else None,
        "finish_reason": None,
        "token_ids": [token_id(piece.token)] if asked.ids else None,
    }
    return choice


def _logprob(piece: Piece) -> Shape:
    return {"token": piece.text, "logprob": -0.25, "bytes": list(piece.text.encode()), "top_logprobs": []}


def _text_logprobs(spoken: Spoken) -> Shape:
    tokens = [piece.text for piece in spoken.pieces]
    offsets = [sum(map(len, tokens[:place])) for place in range(len(tokens))]
    return {
        "text_offset": offsets,
        "token_logprobs": [-0.25] * len(tokens),
        "tokens": tokens,
        "top_logprobs": [{token: -0.25} for token in tokens],
    }
