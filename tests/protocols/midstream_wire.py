"""A model of vLLM's streams for tests: tokens that are bytes, text as its detokenizer lets it go, stop strings held back.

A written answer is one event a token, or several tokens an event. `/v1/completions` with token ids as its prompt goes on
after them; where those end inside a character, the first text is the whole prompt's, as in vLLM.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from penstock.protocols.dialect import Destination, Timing
from penstock.protocols.midstream import Joined, Resumable
from penstock.protocols.table import PAIRINGS, ROUTES
from penstock.types import Kind, Wire

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
PROMPT = [900, 901, 902]
WINDOW = 4096
TO = Destination(kind=Kind.VLLM, model="m", window=WINDOW)


def told(tokens: Sequence[bytes], before: bytes) -> list[str]:
    """The text that each token lets go."""
    pending = before if _open(before) else b""
    texts = []
    for token in tokens:
        pending += token
        texts.append("" if _open(pending) else pending.decode())
        pending = pending if _open(pending) else b""
    return texts


def _open(text: bytes) -> bool:
    return text.decode("utf-8", "replace").endswith("\N{REPLACEMENT CHARACTER}")


@dataclass
class Model:
    """It says these tokens to everybody; ids are places in its vocabulary."""

    tokens: list[bytes]
    number: int = 0

    def ids(self) -> list[int]:
        """One id for each different token."""
        known = sorted(set(self.tokens))
        return [known.index(token) for token in self.tokens]

    def events(self, path: str, body: bytes, together: int = 1) -> list[bytes]:
        """The stream that answers a request, an event of so many tokens each."""
        asked = json.loads(body)
        self.number += 1
        ids, prompt = self.ids(), PROMPT
        begun = 0
        if isinstance(asked.get("prompt"), list):
            prompt = asked["prompt"]
            begun = len(prompt) - len(PROMPT)
            assert prompt == PROMPT + ids[:begun]
        room = int(float(asked.get("max_tokens") or asked.get("max_completion_tokens") or WINDOW))
        tokens = self.tokens[begun : begun + room]
        texts = told(tokens, b"".join(self.tokens[:begun]))
        texts, tokens, finish = stopped(texts, tokens, asked)
        if finish is None:
            finish = "stop" if begun + len(tokens) == len(self.tokens) else "length"
        return self._written(path, asked, prompt, ids[begun : begun + len(tokens)], texts, finish, together)

    def _written(
        self,
        path: str,
        asked: dict[str, Any],
        prompt: list[int],
        ids: list[int],
        texts: list[str],
        finish: str,
        together: int,
    ) -> list[bytes]:
        chat = path == CHAT
        wants = asked.get("return_token_ids")
        head = {
            "id": f"answer-{self.number}", "object": "chat.completion.chunk" if chat else "text_completion",
            "created": 1000 + self.number, "model": "m",
        }  # fmt: skip
        found: list[dict[str, Any]] = []
        if chat:
            first = {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
            found.append({**head, "choices": [first], "prompt_token_ids": prompt if wants else None})
        for at in range(0, max(len(ids), 1), together):
            text = "".join(texts[at : at + together])
            last = at + together >= len(ids)
            choice: dict[str, Any] = {"index": 0, "delta": {"content": text}} if chat else {"index": 0, "text": text}
            choice |= {"logprobs": None, "finish_reason": finish if last else None}
            if not chat:
                choice["prompt_token_ids"] = prompt if wants and not at else None
            choice["token_ids"] = ids[at : at + together] if wants else None
            found.append({**head, "choices": [choice]})
        if (asked.get("stream_options") or {}).get("include_usage"):
            usage = {
                "prompt_tokens": len(prompt),
                "total_tokens": len(prompt) + len(ids),
                "completion_tokens": len(ids),
            }
            found.append({**head, "choices": [], "usage": usage})
        data = [json.dumps(one, ensure_ascii=False, separators=(",", ":")).encode() for one in found]
        return [b"data: " + one + b"\n\n" for one in (*data, b"[DONE]")]


def stopped(texts: list[str], tokens: list[bytes], asked: dict[str, Any]) -> tuple[list[str], list[bytes], str | None]:
    """Stop strings as vLLM has them: what one may begin with is held back, and the text ends before it."""
    stop = asked.get("stop") or []
    if not stop:
        return texts, tokens, None
    shown = bool(asked.get("include_stop_str_in_output"))
    held = 0 if shown else max(map(len, stop)) - 1
    text, sent, out = "", 0, []
    for place, piece in enumerate(texts):
        fresh = len(piece)
        text += piece
        ends = [
            (found + len(word), found)
            for word in stop
            if fresh and (found := text.find(word, max(0, len(text) - fresh - len(word) + 1))) >= 0
        ]
        if ends:
            end, start = min(ends)
            text = text[: end if shown else start]
            out.append(text[sent:])
            return out, tokens[: place + 1], "stop"
        now = max(sent, len(text) - held)
        out.append(text[sent:now])
        sent = now
    if out:
        out[-1] += text[sent:]
    return out, tokens, None


def joined(path: str, body: dict[str, Any], policy: str = "continue") -> tuple[Joined, bytes]:
    """A reader for the answer to this request, and the request as the first engine gets it."""
    face = ROUTES[path.encode()]
    call = face.decode(json.dumps(body).encode(), "application/json")
    pairing = Resumable(PAIRINGS[path, Wire.OPENAI], policy)
    reader = pairing.reader(call, TO, Timing(), lambda: 1)
    assert isinstance(reader, Joined)
    return reader, pairing.request(call, TO).body
