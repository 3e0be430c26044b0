"""Answers of `/v1/responses`, kept to the rules: texts that grow, and say themselves once more when they are whole."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.guardrails import walk
from penstock.guardrails.answers import Events
from penstock.guardrails.said import Said
from penstock.guardrails.text import stopped
from penstock.guardrails.walk import Json, Object

_ANSWER = "response.output_text"
_TEXTS = frozenset({_ANSWER, "response.refusal", "response.reasoning_text", "response.reasoning_summary_text"})
_ARGUMENTS = "response.function_call_arguments"
_PLACE = ("item_id", "output_index", "content_index", "summary_index")
_CALLS = frozenset({"function_call", "custom_tool_call", "mcp_call", "tool_call"})


class Responses(Events):
    """One response."""

    def __init__(self, said: Said) -> None:
        super().__init__(said)
        self._number = 0
        self._grown: dict[tuple[Json, ...], list[str]] = {}
        """What went on of each text that grows, so that it says the same when it is whole."""
        self._cleaned: dict[tuple[Json, ...], str] = {}

    def name(self, event: Object) -> str:
        """Events here have names."""
        return walk.text(event.get("type"))

    def take(self, event: Object) -> Iterator[Object]:
        """One event, numbered anew: some are held back, and some come besides."""
        for one in self._events(event):
            numbered = {**one, "sequence_number": self._number}
            self._number += 1
            yield numbered

    def _events(self, event: Object) -> Iterator[Object]:
        kind = walk.text(event.get("type"))
        stem, _, last = kind.rpartition(".")
        if stem in _TEXTS and last in {"delta", "done"}:
            yield from self._text(stem, last, event)
        elif stem == _ARGUMENTS and last == "delta":
            return  # held until they are whole
        elif stem == _ARGUMENTS and last == "done":
            whole = self.said.arguments(walk.text(event.get("arguments")))
            place = {name: event[name] for name in _PLACE if name in event}
            yield {"type": f"{_ARGUMENTS}.delta", **place, "delta": whole}
            yield {**event, "arguments": whole}
        elif last == "delta":
            raise stopped("coverage", "output", self.said.verdicts, "it has a part of an unknown type")
        elif last in {"created", "queued", "in_progress"}:
            yield {**event, "response": self._plain(event.get("response"))}
        elif last == "completed" or "response" in event:
            yield {**event, "response": self._full(walk.members(event.get("response")))}
        else:
            yield {name: self._part(one) for name, one in event.items()}

    def _text(self, stem: str, last: str, event: Object) -> Iterator[Object]:
        key = (stem, *(event.get(name) for name in _PLACE))
        place = {name: event[name] for name in _PLACE if name in event}
        answer = stem == _ANSWER
        if last == "delta":
            text = self.said.feed(key, walk.text(event.get("delta")), answer=answer)
        else:
            text = self.said.end(key, answer=answer)
        grown = self._grown.setdefault(key, [])
        if text:
            grown.append(text)
            yield {"type": f"{stem}.delta", **place, "delta": text, **({"logprobs": []} if answer else {})}
        if last == "done":
            del self._grown[key]
            yield {
                "type": f"{stem}.done",
                **place,
                "text" if "text" in event else "refusal": "".join(grown),
                **({"logprobs": []} if answer else {}),
            }

    def _plain(self, response: Json) -> Json:
        """A response that has said nothing yet: what the client sent, and what stands around it."""
        return self.said.others(
            {name: one for name, one in walk.members(response).items() if name != "output"} | {"output": []}
        )

    def _part(self, value: Json) -> Json:
        """An item or a part of one."""
        part = walk.members(value)
        kind = part.get("type")
        if kind in {"output_text", "refusal"}:
            name = "text" if kind == "output_text" else "refusal"
            text = walk.text(part.get(name))
            # While it grows it stands here empty, and what is empty fits no schema yet.
            clean = self.said.whole(text, answer=kind == "output_text") if text else ""
            return {"type": kind, name: clean, **({"annotations": []} if kind == "output_text" else {})}
        if kind in _CALLS:
            self.said.tool(walk.text(part.get("name")))
            return {**walk.members(self.said.others({name: one for name, one in part.items() if name != "arguments"})),
                    "arguments": self.said.arguments(walk.text(part.get("arguments")))}  # fmt: skip
        if part and any(isinstance(one, list) for one in part.values()):
            return {name: [self._part(inner) for inner in one] if isinstance(one, list) else self.said.others(one) if name not in {"id", "type", "status", "role"} else one for name, one in part.items()}  # fmt: skip
        return self.said.others(value) if not isinstance(value, str) or not value.startswith("response.") else value

    def _full(self, response: Object) -> Json:
        items = [self._part(one) for one in walk.items(response.get("output"))]
        others = walk.members(self._plain(response))
        spoke = any(walk.members(one).get("type") in {"message", *_CALLS} for one in items)
        if not spoke and response.get("status") == "completed":
            self.said.end((), answer=True)
        return {**others, "output": [*items]}

    def document(self, found: Object) -> Object:
        """One whole response."""
        return (
            walk.members(self._full(found))
            if found.get("object") == "response"
            else walk.members(self.said.others(found))
        )
