"""The scripted engine: answers like vLLM, on a real socket, exactly as its script says.

In a test:          async with Engine(models=["m"]) as engine: ... engine.url ... engine.script = Script(status=500)
As a process:       python -m penstock.faults.engine --port 0 --model m      (prints one JSON line with its URL)
With a file:        … --scenario faults.yaml                                 (a script for each request; plan.py)
Per request:        header  x-script: {"cut_after": 3}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from penstock.faults import asked as reading
from penstock.faults import chat, condition, messages, pooling
from penstock.faults.asked import Asked, Body
from penstock.faults.condition import Gauges, Model
from penstock.faults.flavour import VLLM, Flavour
from penstock.faults.record import Received
from penstock.faults.refused import Refused, too_little, too_long, too_much, unknown_model
from penstock.faults.reply import JSON, Reply
from penstock.faults.script import HEALTHY, Script
from penstock.faults.scripted import Scripted
from penstock.faults.shapes import typed
from penstock.faults.spoken import Spoken, speak
from penstock.faults.wire import Exchange
from penstock.faults.words import Vocabulary

_STORED = 1000


class Engine(Scripted):
    """One engine and everything it saw."""

    def __init__(
        self,
        models: Iterable[str | Model] = ("m",),
        *,
        script: Script = HEALTHY,
        flavour: Flavour = VLLM,
        port: int = 0,
    ) -> None:
        super().__init__(script, port)
        named = [Model(model) if isinstance(model, str) else model for model in models]
        self.models = {model.name: model for model in named}
        """Served names; change it to load or unload a model."""
        self.healthy = True
        self.sleeping = False
        """What it says of itself; how it answers then is its script's affair."""
        self.gauges = Gauges()
        self.pages: dict[str, bytes] = {}
        """Pages told otherwise than they are, by path: figures that are garbled, lists that lie."""
        self.mute: set[str] = set()
        """Pages that are asked for and never come."""
        self.vector_size = 8
        self.flavour = flavour
        self._vocabulary = Vocabulary()
        self._stored: dict[str, tuple[Asked, Spoken]] = {}
        self._prompted = self._generated = 0
        self._pools: dict[str, Callable[[Body, int, Model], Reply]] = {
            "/embeddings": lambda body, number, _: pooling.embeddings(body, number, self._vocabulary, self.vector_size),
            "/score": lambda body, number, _: pooling.score(body, number),
            "/rerank": lambda body, number, _: pooling.rerank(body, number),
            "/tokenize": lambda body, _, model: pooling.tokenize(body, self._vocabulary, model.window),
            "/detokenize": lambda body, _, __: pooling.detokenize(body, self._vocabulary),
            "/messages/count_tokens": lambda body, _, __: pooling.count_tokens(body),
        }

    def asks_model(self, request: Received) -> bool:
        return request.path in self.flavour.routes or request.path.startswith("/v1/responses/")

    def refusal(self, refused: Refused, path: str) -> bytes:
        return self.flavour.error(refused, path)

    def reply(self, request: Received, script: Script) -> Reply:
        path = request.path
        if script.status != 200 and not (script.silent or script.reset):
            raise Refused(script.status, script.message or f"scripted status {script.status}")
        if path.startswith("/v1/responses/"):
            return self._stored_response(request)
        if request.method != "POST":
            raise Refused(405, "Method Not Allowed", kind="Method Not Allowed")
        if path in {"/v1/audio/transcriptions", "/v1/audio/translations"}:
            fields = pooling.form(request.body, request.header("content-type") or "")
            self._model(fields.get("model", b"").decode("utf-8", "replace"))
            return pooling.transcription(fields)
        body = typed(path, reading.decode(request.body))
        self.flavour.check(path, body)
        model = self._model(body.get("model") or "")
        pool = self._pools.get(path.removeprefix("/v1").removeprefix("/v2"))
        if pool is not None:
            return pool(body, request.number, model)
        return self._generate(path, body, model, script, request.number)

    def _generate(self, path: str, body: Body, model: Model, script: Script, number: int) -> Reply:
        read = {
            "/v1/chat/completions": reading.chat,
            "/v1/completions": reading.completion,
            "/v1/messages": reading.messages_api,
            "/v1/responses": reading.responses,
        }[path]
        asked = _fitting(read(body), model.window)
        spoken = speak(script, asked)
        self._vocabulary.encode(piece.text for piece in spoken.pieces)
        self._prompted += len(asked.prompt_tokens)
        self._generated += len(spoken.pieces)
        if path == "/v1/chat/completions":
            return chat.chat(script, asked, spoken, number)
        if path == "/v1/completions":
            return chat.completion(script, asked, spoken, number)
        if path == "/v1/messages":
            return messages.messages(asked, spoken, number)
        return self._respond(body, asked, spoken, number)

    def _identity(self, number: int) -> str:
        # the port keeps the ids of two engines apart
        return f"resp_{self.port:04x}{number:08x}"

    def _respond(self, body: Body, asked: Asked, spoken: Spoken, number: int) -> Reply:
        previous = body.get("previous_response_id")
        if previous and previous not in self._stored:
            raise Refused(404, f"Response with id '{previous}' not found.", param="response_id")
        if body.get("store", True):
            self._stored[self._identity(number)] = (asked, spoken)
            if len(self._stored) > _STORED:
                del self._stored[next(iter(self._stored))]
        return messages.responses(asked, spoken, self._identity(number))

    def _stored_response(self, request: Received) -> Reply:
        identity, _, verb = request.path.removeprefix("/v1/responses/").partition("/")
        stored = self._stored.get(identity)
        if stored is None:
            raise Refused(404, f"Response with id '{identity}' not found.", param="response_id")
        if verb == "cancel":
            raise Refused(400, "Cannot cancel a synchronous response.", param="response_id")
        asked, spoken = stored
        again = msgspec.structs.replace(asked, stream="stream=true" in request.target)
        reply = messages.responses(again, spoken, identity)
        return reply if reply.stream else msgspec.structs.replace(reply, tokens=0)

    def _model(self, name: str) -> Model:
        # vLLM takes a request without a model as one for its first
        model = self.models.get(name) if name else next(iter(self.models.values()), None)
        if model is None:
            raise unknown_model(name, tuple(self.models))
        return model

    async def tell(self, exchange: Exchange) -> None:
        request = exchange.request
        path = request.path
        if path in self.mute:
            await exchange.forever()
        elif path in self.pages:
            await exchange.send(200, self.pages[path], [("content-type", JSON)])
        elif path not in self.flavour.condition:
            refused = Refused(404, "Not Found", kind="Not Found")
            await exchange.send(404, refused.body(path), [("content-type", JSON)])
        elif path in {"/health", "/ping"}:
            await exchange.send(200 if self.healthy else 503, b"", [])
        else:
            kind = "text/plain; version=0.0.4; charset=utf-8" if path == "/metrics" else JSON
            await exchange.send(200, self._page(path), [("content-type", kind)])

    def _page(self, path: str) -> bytes:
        if path == "/v1/models":
            return condition.models(self.models, self.flavour.owner, windows=self.flavour.windows)
        if path == "/metrics":
            name = next(iter(self.models), "")
            figures = (self.running, self._prompted, self._generated, self.answered)
            return condition.metrics(self.gauges, name, *figures, asleep=self.sleeping)
        if path == "/openapi.json":
            return condition.openapi(self.flavour.routes | self.flavour.condition)
        pages: dict[str, object] = {
            "/version": {"version": condition.VERSION},
            "/load": {"server_load": self.running},
            "/is_sleeping": {"is_sleeping": self.sleeping},
        }
        return msgspec.json.encode(pages[path])


def _fitting(asked: Asked, window: int) -> Asked:
    """With its limit cut to what the window has beside the prompt; refused is only what passes the window by itself."""
    limit, tokens = asked.limit, len(asked.prompt_tokens)
    if limit is not None and limit > window:
        raise too_much(window, limit, asked.limit_name)
    if tokens >= window:
        raise too_long(window, tokens)
    if limit is not None and limit < 1:
        raise too_little(limit)
    room = window - tokens
    return msgspec.structs.replace(asked, limit=room if limit is None else min(limit, room))


if __name__ == "__main__":
    from penstock.faults.process import main

    main()
