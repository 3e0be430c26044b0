"""OpenAI messages as Ollama's: parts as one text and bare images, arguments as objects, results with their tool's name."""

from __future__ import annotations

import msgspec

from penstock.errors import BadRequest
from penstock.protocols import ollama_images
from penstock.protocols.ollama_out_types import Called, Part, Turn
from penstock.protocols.ollama_types import Function, Message, ToolCall

_ROLES = {"developer": "system", "function": "tool"}


class History:
    """Translates messages in order; remembers which tool an id belongs to."""

    __slots__ = ("_names", "lost")

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self.lost: set[str] = set()
        """What Ollama cannot be told."""

    def message(self, turn: Turn) -> Message:
        """One message."""
        text, images = _content(turn.content)
        message = Message(
            role=_ROLES.get(turn.role, turn.role),
            content=text,
            thinking=turn.reasoning or turn.reasoning_content or None,
            images=images or None,
        )
        if turn.tool_calls:
            message.tool_calls = [self._call(call) for call in turn.tool_calls]
        if message.role == "tool":
            message.tool_call_id = turn.tool_call_id
            message.tool_name = turn.name or self._names.get(turn.tool_call_id or "")
        elif turn.name:
            self.lost.add("name")
        return message

    def _call(self, call: Called) -> ToolCall:
        name, text = call.function.name, call.function.arguments or "{}"
        if call.id:
            self._names[call.id] = name
        try:
            msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            msg = f"Writing the request for Ollama: the arguments of the call of {name!r} are not a JSON object ({error})."
            raise BadRequest(msg, param="messages") from None
        return ToolCall(id=call.id, function=Function(name=name, arguments=msgspec.Raw(text.encode())))


def _content(content: str | list[Part] | None) -> tuple[str, list[str]]:
    if content is None or isinstance(content, str):
        return content or "", []
    texts: list[str] = []
    images: list[str] = []
    for part in content:
        if part.type == "image_url" and part.image_url is not None:
            url = part.image_url
            images.append(ollama_images.base64(url if isinstance(url, str) else url.url))
        elif part.type in {"text", "refusal"}:
            texts.append(part.text or part.refusal or "")
        else:
            msg = f"Writing the request for Ollama: it takes text and images, not {part.type!r}."
            raise BadRequest(msg, param="messages")
    # vLLM joins the texts of one message the same way.
    return "\n".join(texts), images
