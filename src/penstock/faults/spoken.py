"""What the scripted engine says to a request: a pure function of the script and of what was asked."""

from __future__ import annotations

import re
from itertools import cycle, islice
from typing import Literal

import msgspec

from penstock.faults.asked import Asked
from penstock.faults.refused import Refused
from penstock.faults.script import Script, ToolUse
from penstock.faults.words import sample, spelled, split, token_id, told

_CALL = re.compile(r"^call (\w+)(?:\s+(\{.*\}))?$", re.DOTALL)


class Piece(msgspec.Struct, frozen=True):
    """One token, or one delta of a function call, which counts as a token."""

    kind: Literal["reasoning", "text", "call"]
    text: str
    call: int = 0
    """Which call, for kind `call`."""
    name: str = ""
    """Function name: set on the first delta of a call, which carries no arguments yet."""
    spelling: str = ""
    """The token, where its text is another: a byte of a character brings none."""

    @property
    def token(self) -> str:
        """What its id is made of."""
        return self.spelling or self.text


class Spoken(msgspec.Struct, frozen=True, kw_only=True):
    pieces: tuple[Piece, ...]
    finish: str
    """OpenAI's word: stop, length, tool_calls."""
    tools: tuple[ToolUse, ...] = ()

    def joined(self, kind: str) -> str:
        """All text of one kind."""
        return "".join(piece.text for piece in self.pieces if piece.kind == kind)


def speak(script: Script, asked: Asked) -> Spoken:
    tools = _tools(script, asked)
    if tools:
        pieces = [piece for index, tool in enumerate(tools) for piece in _call(index, tool)]
        return Spoken(pieces=tuple(pieces), finish=script.finish or "tool_calls", tools=tools)
    tokens = _tokens(script, asked)
    spoken = _said_before(script, asked, tokens)
    texts = told(tokens[spoken:], spelled(tokens[:spoken]))
    pieces = [Piece("text", text, spelling=token) for token, text in zip(tokens[spoken:], texts, strict=True)]
    if not spoken:
        pieces = [Piece("reasoning", token) for token in script.reasoning] + pieces
    finish = "stop"
    if asked.limit is not None and len(pieces) > asked.limit:
        pieces, finish = pieces[: asked.limit], "length"
    return Spoken(pieces=tuple(pieces), finish=script.finish or finish)


def _said_before(script: Script, asked: Asked, tokens: list[str]) -> int:
    """How many of these tokens the prompt ends with already: given as ids, or as a message to be gone on with."""
    if asked.continued and not script.reasoning:
        fit = (count for count in range(len(tokens), 0, -1) if spelled(tokens[:count]) == asked.continued.encode())
        return next(fit, 0)
    given = asked.prompt_ids
    ids = tuple(map(token_id, tokens[: len(given)]))
    return next((count for count in range(len(ids), 0, -1) if given[-count:] == ids[:count]), 0)


def _tools(script: Script, asked: Asked) -> tuple[ToolUse, ...]:
    """Calls by the script; or by the request itself, which may say `call NAME {arguments}` or force a function."""
    if not asked.offered or asked.resulted:
        return ()
    if script.tools:
        return script.tools
    said = _CALL.match(asked.last.strip())
    if said and said[1] in asked.offered:
        return (ToolUse(name=said[1], arguments=said[2] or "{}"),)
    if asked.forced is None:
        return ()
    name = next(iter(asked.offered)) if asked.forced == "*" else asked.forced
    arguments = msgspec.json.encode(_made_up(asked.offered.get(name, {}))).decode()
    return (ToolUse(name=name, arguments=arguments),)


def _made_up(schema: object) -> object:
    """A value for the client's schema, which may be none: vLLM's compiler refuses those."""
    try:
        return sample(schema)
    except (TypeError, ValueError, AttributeError, KeyError, IndexError) as error:
        raise Refused(400, f"Failed to compile the grammar: {error!r}.") from error


def _call(index: int, tool: ToolUse) -> list[Piece]:
    third = max(1, len(tool.arguments) // 3)
    deltas = (tool.arguments[:third], tool.arguments[third : 2 * third], tool.arguments[2 * third :])
    return [
        Piece("call", "", call=index, name=tool.name),
        *(Piece("call", text, call=index) for text in deltas if text),
    ]


def _tokens(script: Script, asked: Asked) -> list[str]:
    if script.tokens is not None:
        tokens = list(script.tokens)
    elif asked.schema is not None:
        value = {"answer": asked.last} if asked.schema is True else _made_up(asked.schema)
        tokens = split(msgspec.json.encode(value).decode())
    else:
        tokens = split(asked.last) or ["(nothing", " was", " said)"]
    if script.count is not None:
        tokens = list(islice(cycle(tokens), script.count))
    return _stopped(tokens, asked.stop)


def _stopped(tokens: list[str], stop: tuple[str, ...]) -> list[str]:
    text = "".join(tokens)
    places = [text.index(word) for word in stop if word and word in text]
    return split(text[: min(places)]) if places else tokens
