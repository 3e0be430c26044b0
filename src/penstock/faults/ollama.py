"""A double of an Ollama server: its routes, names, shapes, errors and load states on a real socket.

Written from Ollama's own source and documentation and checked by its official Python client. What no real Ollama server
has verified here: the exact words of JSON type errors and their status for wrong option types, the numbers in the
durations (made up from token counts: 1 ms a prompt token, 2 ms a generated one), how a model too large for memory is
reported, whether embeddings are normalised (these are not), sampling (the answer is an echo), truncation of long prompts
(silent here, as documented, unless `truncate` is false), and everything about pulling and creating models (not played).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import msgspec

from penstock.faults import asked as openai_asked
from penstock.faults import chat as openai_chat
from penstock.faults import messages as openai_messages
from penstock.faults import ollama_asked, ollama_shapes
from penstock.faults.asked import Asked, Body
from penstock.faults.ollama_asked import GoError
from penstock.faults.ollama_shapes import WHOLE, OllamaModel
from penstock.faults.record import Received
from penstock.faults.reply import JSON, Reply
from penstock.faults.script import HEALTHY, Script
from penstock.faults.scripted import Scripted
from penstock.faults.shapes import typed
from penstock.faults.spoken import speak
from penstock.faults.wire import Exchange
from penstock.faults.words import split, vector

_KINDS = {
    "/api/generate": "GenerateRequest",
    "/api/chat": "ChatRequest",
    "/api/embed": "EmbedRequest",
    "/api/embeddings": "EmbeddingRequest",
    "/api/show": "ShowRequest",
}
_COMPATIBLE = frozenset({"/v1/chat/completions", "/v1/responses", "/v1/messages"})
_ASKS = frozenset({"/api/generate", "/api/chat", "/api/embed", "/api/embeddings"}) | _COMPATIBLE
_LOADING = 1_500_000_000
"""Nanoseconds a cold load is said to have taken."""
_EVER = timedelta(days=365 * 100)


class OllamaDouble(Scripted):
    """One Ollama and everything it saw."""

    def __init__(
        self, models: Iterable[str | OllamaModel] = ("llama3.2",), *, script: Script = HEALTHY, port: int = 0
    ) -> None:
        super().__init__(script, port)
        named = [OllamaModel(name=_tagged(model)) if isinstance(model, str) else model for model in models]
        self.models = {model.name: model for model in named}
        self.loaded: dict[str, datetime] = {}
        """Names in memory and until when: warm."""
        self.loadable = True
        """False: there is no memory for any model that is not loaded yet."""
        self.version = "0.12.0"

    def asks_model(self, request: Received) -> bool:
        return request.path in _ASKS

    def reply(self, request: Received, script: Script) -> Reply:
        path = request.path
        if request.method != "POST":
            raise GoError(405, "method not allowed")
        if script.status != 200 and not (script.silent or script.reset):
            raise GoError(script.status, script.message or f"scripted status {script.status}")
        if path in _COMPATIBLE:
            return self._compatible(path, request, script)
        body = ollama_asked.decode(request.body, _KINDS[path])
        model = self._model(str(body["model"]))
        seconds = ollama_asked.keep_alive(body)
        if path == "/api/embed":
            return self._embed(body, model, seconds)
        if path == "/api/embeddings":
            self._load(model, seconds)
            values = vector(body.get("prompt") or "", model.width) if body.get("prompt") else []
            return Reply(tokens=1, whole=msgspec.json.encode({"embedding": values}), whole_type=WHOLE)
        return self._generate(path, body, model, script, seconds)

    def _generate(self, path: str, body: Body, model: OllamaModel, script: Script, seconds: float) -> Reply:
        chat = path == "/api/chat"
        said = body.get("messages") if chat else body.get("prompt")
        if not said and not body.get("suffix"):
            if body.get("keep_alive") == 0 or seconds == 0:
                self.loaded.pop(model.name, None)
                reason = "unload"
            else:
                self._load(model, seconds)
                reason = "load"
            return Reply(tokens=0, whole=ollama_shapes.idle(body["model"], reason, chat=chat), whole_type=WHOLE)
        asked = (ollama_asked.chat if chat else ollama_asked.generate)(body)
        self._require(model, body, asked)
        if body.get("truncate") is False and len(asked.prompt_tokens) > model.window:
            raise GoError(400, "the input length exceeds the context length")
        load = self._load(model, seconds)
        if "thinking" not in model.capabilities or body.get("think") is False:
            script = msgspec.structs.replace(script, reasoning=())
        elif not script.reasoning:
            script = msgspec.structs.replace(script, reasoning=("The", " user", " said", " something."))
        spoken = speak(script, asked)
        if chat:
            return ollama_shapes.chat(asked, spoken, load)
        return ollama_shapes.generate(asked, spoken, load, raw=bool(body.get("raw")))

    def _compatible(self, path: str, request: Received, script: Script) -> Reply:
        """Ollama's own OpenAI and Anthropic routes."""
        body = typed(path, openai_asked.decode(request.body))
        model = self._model(str(body.get("model") or ""))
        self._load(model, 300)
        if path == "/v1/messages":
            asked = openai_asked.messages_api(body)
            return openai_messages.messages(asked, speak(script, asked), request.number)
        if path == "/v1/responses":
            asked = openai_asked.responses(body)
            return openai_messages.responses(asked, speak(script, asked), f"resp_{self.port}{request.number:06d}")
        asked = openai_asked.chat(body)
        return openai_chat.chat(script, asked, speak(script, asked), request.number)

    def _embed(self, body: Body, model: OllamaModel, seconds: float) -> Reply:
        texts = ollama_asked.texts(body)
        load = self._load(model, seconds)
        count = sum(len(split(text)) for text in texts)
        if body.get("truncate") is False and any(len(split(text)) > model.window for text in texts):
            raise GoError(400, "the input length exceeds the context length")
        width = body.get("dimensions") or model.width
        shape = {
            "model": body["model"],
            "embeddings": [vector(text, width) for text in texts],
            "total_duration": load + 1_000_000 * count + 50_000,
            "load_duration": load,
            "prompt_eval_count": count,
        }
        return Reply(tokens=1, whole=msgspec.json.encode(shape), whole_type=WHOLE)

    def _model(self, name: str) -> OllamaModel:
        model = self.models.get(_tagged(name))
        if model is None:
            raise GoError(404, f"model '{name}' not found")
        return model

    def _require(self, model: OllamaModel, body: Body, asked: Asked) -> None:
        wanted = ["completion"]
        wanted += ["tools"] if asked.offered else []
        wanted += ["insert"] if body.get("suffix") else []
        wanted += ["thinking"] if body.get("think") else []
        for capability in wanted:
            if capability not in model.capabilities:
                word = "generate" if capability == "completion" else capability
                raise GoError(400, f'"{body["model"]}" does not support {word}')

    def _load(self, model: OllamaModel, seconds: float) -> int:
        """Bring a model into memory; how many nanoseconds that took."""
        warm = self._warm(model.name)
        if not warm and not self.loadable:
            raise GoError(500, "model requires more system memory (5.6 GiB) than is available (1.2 GiB)")
        self.loaded[model.name] = datetime.now(UTC) + (timedelta(seconds=seconds) if seconds >= 0 else _EVER)
        return 40_000 if warm else _LOADING

    def _warm(self, name: str) -> bool:
        until = self.loaded.get(name)
        return until is not None and until > datetime.now(UTC)

    async def tell(self, exchange: Exchange) -> None:
        request = exchange.request
        try:
            body, kind = self._page(request)
            status = 200
        except GoError as error:
            body, kind, status = msgspec.json.encode({"error": error.message}), WHOLE, error.status
        await exchange.send(status, body, [("content-type", kind)])

    def _page(self, request: Received) -> tuple[bytes, str]:
        path = request.path
        if path == "/api/show":
            body = ollama_asked.decode(request.body, _KINDS[path])
            return ollama_shapes.show(self._model(str(body.get("model") or body.get("name")))), WHOLE
        if path == "/":
            return b"Ollama is running", "text/plain; charset=utf-8"
        if path == "/api/version":
            return msgspec.json.encode({"version": self.version}), WHOLE
        if path == "/api/tags":
            return ollama_shapes.tags(list(self.models.values())), WHOLE
        if path == "/api/ps":
            warm = [(self.models[name], until) for name, until in self.loaded.items() if name in self.models]
            return ollama_shapes.running([row for row in warm if self._warm(row[0].name)]), WHOLE
        if path == "/v1/models":
            rows = [{"id": name, "object": "model", "created": 0, "owned_by": "library"} for name in self.models]
            return msgspec.json.encode({"object": "list", "data": rows}), JSON
        raise GoError(404, "404 page not found")


def _tagged(name: str) -> str:
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"
