"""Ollama clients in front of OpenAI-speaking engines: `/api/chat`, `/api/generate`, `/api/embed`, `/api/embeddings`.

`/api/generate` means "apply the chat template" unless `raw` is set, so it becomes a chat; `raw` and `suffix` become
`/v1/completions`. What an engine cannot be told is named in `Outgoing.dropped`; what would change the answer's meaning
(`template`, images without a chat, a suffix that llama.cpp ignores) is refused, so that another backend may take it.
"""

from __future__ import annotations

import time

import msgspec

from penstock.errors import Unsupported
from penstock.protocols import ollama_call, ollama_options, ollama_words
from penstock.protocols.dialect import Call, Clock, Destination, Outgoing, Reader, Timing
from penstock.protocols.ollama_in_answer import CHAT, GENERATE, Stream, Whole
from penstock.protocols.ollama_in_vectors import Vector, Vectors
from penstock.protocols.ollama_openai import (
    ChatBody,
    CompletionBody,
    EmbeddingBody,
    ResponseFormat,
    Schema,
    StreamOptions,
    TemplateWords,
)
from penstock.protocols.ollama_turns import History, prompt
from penstock.protocols.ollama_types import (
    ChatAnswer,
    ChatRequest,
    EmbedAnswer,
    EmbeddingsAnswer,
    GenerateAnswer,
    GenerateRequest,
    Said,
    Think,
    moment,
    said,
)
from penstock.types import Kind

_encode = msgspec.json.Encoder().encode


class Chat:
    """`/api/chat` as `/v1/chat/completions`."""

    def __init__(self, wall: Clock = time.time_ns) -> None:
        self._wall = wall

    def request(self, call: Call, to: Destination) -> Outgoing:
        """The same conversation for this engine."""
        asked = ollama_call.chat_request(call.body)
        history = History(to.kind)
        body = ChatBody(
            model=to.model,
            messages=[history.turn(message) for message in asked.messages or ()],
            stream=call.stream,
        )
        if asked.tools:
            body.tools = asked.tools
        return _chat(body, asked, to, sorted(history.lost))

    def reader(self, call: Call, to: Destination, timing: Timing, clock: Clock) -> Reader:
        """The engine's answer as Ollama lines, or as one Ollama object."""
        kind = Stream if call.stream else Whole
        return kind(CHAT, to.model, timing, clock, self._wall)

    def idle(self, call: Call, to: Destination) -> bytes:
        """Nothing was asked: the model counts as loaded, or as unloaded."""
        message = Said(role="assistant", content="")
        at = moment(self._wall())
        return _encode(
            ChatAnswer(model=to.model, created_at=at, message=message, done=True, done_reason=call.idle or "load")
        )


class Generate:
    """`/api/generate` as a chat of one turn, or as `/v1/completions`."""

    def __init__(self, wall: Clock = time.time_ns) -> None:
        self._wall = wall

    def request(self, call: Call, to: Destination) -> Outgoing:
        """The same prompt for this engine."""
        asked = ollama_call.generate_request(call.body)
        if asked.template:
            msg = (
                f"Writing the request for {to.kind.label}: its chat template is its own, `template` cannot replace it."
            )
            raise Unsupported(msg, hint="Leave it out, or send the rendered prompt with raw: true.", param="template")
        dropped = [name for name in ("context", "width", "height", "steps") if getattr(asked, name)]
        if asked.raw or asked.suffix:
            return _completion(asked, call, to, dropped)
        body = ChatBody(
            model=to.model, messages=prompt(asked.system, asked.prompt or "", asked.images), stream=call.stream
        )
        return _chat(body, asked, to, dropped)

    def reader(self, call: Call, to: Destination, timing: Timing, clock: Clock) -> Reader:
        """The engine's answer as Ollama lines, or as one Ollama object."""
        kind = Stream if call.stream else Whole
        return kind(GENERATE, to.model, timing, clock, self._wall)

    def idle(self, call: Call, to: Destination) -> bytes:
        """Nothing was asked: the model counts as loaded, or as unloaded."""
        at = moment(self._wall())
        return _encode(
            GenerateAnswer(model=to.model, created_at=at, response="", done=True, done_reason=call.idle or "load")
        )


class Embed:
    """`/api/embed` as `/v1/embeddings`."""

    def request(self, call: Call, to: Destination) -> Outgoing:
        """The same texts; `dimensions` is ours to honour, so that every engine gives the same."""
        asked = ollama_call.embed_request(call.body)
        body = EmbeddingBody(model=to.model, input=ollama_call.texts(asked.input))
        dropped = list(ollama_options.names(asked.options))
        # Ollama cuts a text that is too long unless told not to; of the others only vLLM can.
        if asked.truncate is not False and to.kind is Kind.VLLM:
            body.truncate_prompt_tokens = -1
        elif asked.truncate:
            dropped.append("truncate")
        return _outgoing("/v1/embeddings", body, dropped)

    def reader(self, call: Call, to: Destination, timing: Timing, clock: Clock) -> Reader:
        """Every vector as the engine wrote it."""
        asked = ollama_call.embed_request(call.body)
        return Vectors(to.model, len(ollama_call.texts(asked.input)), asked.dimensions or 0, timing, clock)

    def idle(self, call: Call, to: Destination) -> bytes:
        """No text, no vector."""
        del call
        return _encode(EmbedAnswer(model=to.model, embeddings=[]))


class Embeddings:
    """`/api/embeddings` as `/v1/embeddings`."""

    def request(self, call: Call, to: Destination) -> Outgoing:
        """The one text; the older route always cuts what is too long."""
        asked = ollama_call.embeddings_request(call.body)
        body = EmbeddingBody(model=to.model, input=[asked.prompt or ""])
        if to.kind is Kind.VLLM:
            body.truncate_prompt_tokens = -1
        return _outgoing("/v1/embeddings", body, list(ollama_options.names(asked.options)))

    def reader(self, call: Call, to: Destination, timing: Timing, clock: Clock) -> Reader:
        """The vector as the engine wrote it."""
        del call, to
        return Vector(timing, clock)

    def idle(self, call: Call, to: Destination) -> bytes:
        """No text, no vector."""
        del call, to
        return _encode(EmbeddingsAnswer(embedding=msgspec.Raw(b"[]")))


def _chat(body: ChatBody, asked: ChatRequest | GenerateRequest, to: Destination, dropped: list[str]) -> Outgoing:
    """What both routes ask of a chat besides its messages."""
    dropped = [*dropped, *_flags(asked), *ollama_options.apply(asked.options, body, to)]
    if body.stream:
        body.stream_options = StreamOptions()
    if bytes(asked.format) not in {b"", b"null", b'""'}:
        body.response_format = _response_format(asked.format)
    if not _think(body, asked.think, to.kind):
        dropped.append("think")
    if asked.logprobs:
        body.logprobs = True
        if asked.top_logprobs:
            body.top_logprobs = asked.top_logprobs
    return _outgoing("/v1/chat/completions", body, dropped)


def _think(body: ChatBody, think: Think, kind: Kind) -> bool:
    """Say whether and how much to think; False where this kind of engine has no word for it."""
    if think is None:
        return True
    level = think if isinstance(think, str) else None
    if kind is Kind.OPENAI:
        # OpenAI's own models know efforts, not a switch; Ollama reads `true` as "medium".
        if think is False:
            return False
        body.reasoning_effort = {"max": "high"}.get(level or "medium", level or "medium")
        return level != "max"
    words = TemplateWords(enable_thinking=think is not False)
    if level and kind is Kind.EMBEDDED:
        words.reasoning_effort = level
    elif level:
        body.reasoning_effort = level
    body.chat_template_kwargs = words
    return True


def _completion(asked: GenerateRequest, call: Call, to: Destination, dropped: list[str]) -> Outgoing:
    """A prompt without the chat template."""
    _check_completion(asked, to)
    body = CompletionBody(model=to.model, prompt=asked.prompt or "", stream=call.stream)
    dropped += [*_flags(asked), *ollama_options.apply(asked.options, body, to)]
    if body.max_tokens is msgspec.UNSET and not ollama_options.unlimited(body, to):
        dropped.append("num_predict")
    if body.stream:
        body.stream_options = StreamOptions()
    if asked.suffix:
        body.suffix = asked.suffix
        if asked.system:
            dropped.append("system")
    if asked.think is not None:
        dropped.append("think")
    if said(asked.format) and not _constrain(body, asked.format, to.kind):
        dropped.append("format")
    if asked.logprobs:
        body.logprobs = asked.top_logprobs or 1
    return _outgoing("/v1/completions", body, dropped)


def _check_completion(asked: GenerateRequest, to: Destination) -> None:
    if asked.images:
        msg = f"Writing the request for {to.kind.label}: a prompt without the chat template cannot carry images."
        raise Unsupported(msg, hint="Leave `raw` and `suffix` out.", param="images")
    if asked.suffix and to.kind is Kind.EMBEDDED:
        msg = "Writing the request for the embedded engine: llama.cpp ignores `suffix` on /v1/completions."
        raise Unsupported(msg, hint="Send the model's own fill-in-the-middle prompt with raw: true.", param="suffix")


def _constrain(body: CompletionBody, form: msgspec.Raw, kind: Kind) -> bool:
    """Hold the output to JSON; False where this kind of engine cannot on this route."""
    text = bytes(form)
    if text == b'""':
        return True
    if kind is Kind.VLLM:
        body.response_format = _response_format(form)
    elif kind is Kind.EMBEDDED:
        body.json_schema = form if text.startswith(b"{") else msgspec.Raw(b'{"type":"object"}')
    return kind is not Kind.OPENAI


def _response_format(form: msgspec.Raw) -> ResponseFormat:
    if bytes(form).startswith(b"{"):
        return ResponseFormat("json_schema", Schema("response", form))
    return ResponseFormat("json_object")


def _flags(asked: ChatRequest | GenerateRequest) -> list[str]:
    """Wishes that belong to Ollama's scheduler; `False` is what the other engines do anyway."""
    found = [name for name in ("truncate", "shift") if getattr(asked, name)]
    alive = ollama_words.keep_alive(asked.keep_alive)
    return [*found, "keep_alive"] if alive is not None and alive < 10**9 else found


def _outgoing(path: str, body: ChatBody | CompletionBody | EmbeddingBody, dropped: list[str]) -> Outgoing:
    return Outgoing(path=path, body=_encode(body), dropped=tuple(dict.fromkeys(dropped)))
