"""Ollama's answers: chat, generate, embed, and what it tells about its models. Pure but for the clock it is given."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import msgspec

from penstock.faults.asked import Asked
from penstock.faults.reply import Reply, line
from penstock.faults.spoken import Piece, Spoken
from penstock.faults.words import token_id

Shape = dict[str, object]
NDJSON = "application/x-ndjson"
WHOLE = "application/json; charset=utf-8"


class OllamaModel(msgspec.Struct, frozen=True, kw_only=True):
    """One model in the double's library."""

    name: str
    """With its tag."""
    family: str = "llama"
    window: int = 4096
    width: int = 8
    size: int = 4_661_224_676
    capabilities: tuple[str, ...] = ("completion", "tools")

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.name.encode()).hexdigest()

    def details(self) -> Shape:
        return {
            "parent_model": "",
            "format": "gguf",
            "family": self.family,
            "families": [self.family],
            "parameter_size": "8.0B",
            "quantization_level": "Q4_0",
        }


def now() -> str:
    """RFC 3339 with nanoseconds, as Go prints it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "789Z"


def tags(models: list[OllamaModel]) -> bytes:
    rows = [
        {
            "name": model.name,
            "model": model.name,
            "modified_at": "2026-05-04T14:56:49.277302595-07:00",
            "size": model.size,
            "digest": model.digest,
            "details": model.details(),
        }
        for model in models
    ]
    return msgspec.json.encode({"models": rows})


def running(models: list[tuple[OllamaModel, datetime]]) -> bytes:
    rows = [
        {
            "name": model.name,
            "model": model.name,
            "size": model.size,
            "digest": model.digest,
            "details": model.details(),
            "expires_at": until.isoformat(),
            "size_vram": model.size,
            "context_length": model.window,
        }
        for model, until in models
    ]
    return msgspec.json.encode({"models": rows})


def show(model: OllamaModel) -> bytes:
    information = {
        "general.architecture": model.family,
        "general.parameter_count": 8030261248,
        f"{model.family}.context_length": model.window,
        f"{model.family}.embedding_length": model.width,
    }
    return msgspec.json.encode(
        {
            "license": "none",
            "modelfile": f"FROM {model.name}\n",
            "parameters": 'stop "<|eot_id|>"',
            "template": "{{ .Prompt }}",
            "details": model.details(),
            "model_info": information,
            "capabilities": list(model.capabilities),
            "modified_at": "2026-05-04T14:56:49.277302595-07:00",
        }
    )


class Clocked(msgspec.Struct, frozen=True, kw_only=True):
    """Nanoseconds a real server would have measured; the double makes them up from its counts."""

    load: int
    prompt: int
    said: int

    def metrics(self) -> Shape:
        prompt_duration, eval_duration = 1_000_000 * self.prompt, 2_000_000 * self.said
        return {
            "total_duration": self.load + prompt_duration + eval_duration + 50_000,
            "load_duration": self.load,
            "prompt_eval_count": self.prompt,
            "prompt_eval_duration": prompt_duration,
            "eval_count": self.said,
            "eval_duration": eval_duration,
        }


def idle(model: str, reason: str, *, chat: bool) -> bytes:
    """The whole answer to the load and unload idioms."""
    content: Shape = {"message": {"role": "assistant", "content": ""}} if chat else {"response": ""}
    return msgspec.json.encode({"model": model, "created_at": now(), **content, "done": True, "done_reason": reason})


def chat(asked: Asked, spoken: Spoken, load: int) -> Reply:
    head: Shape = {"model": asked.model}
    clocked = Clocked(load=load, prompt=len(asked.prompt_tokens), said=len(spoken.pieces))
    tail: Shape = {"done": True, "done_reason": _reason(spoken), **clocked.metrics()}
    said: Shape = {"role": "assistant", "content": spoken.joined("text")}
    if thought := spoken.joined("reasoning"):
        said["thinking"] = thought
    if spoken.tools:
        said["tool_calls"] = _calls(spoken)
    if not asked.stream:
        whole = {**head, "created_at": now(), "message": said, **_logprobs(asked, spoken.pieces), **tail}
        return Reply(tokens=len(spoken.pieces), whole=msgspec.json.encode(whole), whole_type=WHOLE)

    def chunk(message: Shape, piece: Piece | None = None) -> bytes:
        extra = _logprobs(asked, (piece,)) if piece else {}
        return line(
            {
                **head,
                "created_at": now(),
                "message": {"role": "assistant", "content": "", **message},
                **extra,
                "done": False,
            }
        )

    pieces = [
        chunk({"thinking": piece.text} if piece.kind == "reasoning" else {"content": piece.text}, piece)
        for piece in spoken.pieces
        if piece.kind != "call"
    ]
    if spoken.tools:
        pieces.append(chunk({"tool_calls": _calls(spoken)}))
    last = line({**head, "created_at": now(), "message": {"role": "assistant", "content": ""}, **tail})
    return _stream(pieces, last)


def generate(asked: Asked, spoken: Spoken, load: int, *, raw: bool) -> Reply:
    head: Shape = {"model": asked.model}
    clocked = Clocked(load=load, prompt=len(asked.prompt_tokens), said=len(spoken.pieces))
    tail: Shape = {"done": True, "done_reason": _reason(spoken), **clocked.metrics()}
    if not raw:
        tail["context"] = [token_id(token) for token in asked.prompt_tokens + [piece.text for piece in spoken.pieces]]
    if not asked.stream:
        said: Shape = {"response": spoken.joined("text")}
        if thought := spoken.joined("reasoning"):
            said["thinking"] = thought
        whole = {**head, "created_at": now(), **said, **_logprobs(asked, spoken.pieces), **tail}
        return Reply(tokens=len(spoken.pieces), whole=msgspec.json.encode(whole), whole_type=WHOLE)
    pieces = []
    for piece in spoken.pieces:
        said = {"response": "", "thinking": piece.text} if piece.kind == "reasoning" else {"response": piece.text}
        pieces.append(line({**head, "created_at": now(), **said, **_logprobs(asked, (piece,)), "done": False}))
    return _stream(pieces, line({**head, "created_at": now(), "response": "", **tail}))


def _stream(pieces: list[bytes], last: bytes) -> Reply:
    return Reply(
        tokens=len(pieces),
        stream=True,
        stream_type=NDJSON,
        pieces=tuple(pieces),
        closing=(last,),
        lines=True,
        malformed=b'{"model": "x", "message": {\n',
    )


def _reason(spoken: Spoken) -> str:
    # a tool call ends with "stop" here, unlike OpenAI's "tool_calls"
    return "length" if spoken.finish == "length" else "stop"


def _calls(spoken: Spoken) -> list[Shape]:
    return [
        {
            "id": f"call_{token_id(tool.name):08x}{index}",
            "function": {"index": index, "name": tool.name, "arguments": msgspec.json.decode(tool.arguments)},
        }
        for index, tool in enumerate(spoken.tools)
    ]


def _logprobs(asked: Asked, pieces: tuple[Piece, ...]) -> Shape:
    if not asked.logprobs:
        return {}
    return {
        "logprobs": [{"token": piece.text, "logprob": -0.25, "bytes": list(piece.text.encode())} for piece in pieces]
    }
