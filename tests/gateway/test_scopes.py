"""What a key does not open stays shut: every route of the table, both protocols, both data planes, and every list."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from tests.fakes.gateway import Gateway, Gateways
from tests.fakes.raw import Answer, Raw, once
from tests.gateway.site import SHARED, chat, lane

from penstock.faults.engine import Engine
from penstock.gateway.app import NOT_SERVED
from penstock.protocols.far_fields import NAMES
from penstock.protocols.table import ROUTES
from penstock.types import Operation

__all__ = ["lane"]

pytestmark = SHARED

PATHS = sorted(path.decode() for path in ROUTES)
FORM = (
    b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\n%b\r\n'
    b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF\r\n--b--\r\n'
)
OPERATIONS = {
    "/v1/chat/completions": "chat", "/v1/completions": "completion", "/v1/embeddings": "embedding",
    "/v1/responses": "responses", "/v1/messages": "messages", "/v1/messages/count_tokens": "count_tokens",
    "/tokenize": "tokenize", "/detokenize": "detokenize", "/score": "score", "/v1/score": "score", "/rerank": "rerank",
    "/v1/rerank": "rerank", "/v2/rerank": "rerank", "/v1/audio/transcriptions": "transcription",
    "/v1/audio/translations": "translation", "/v1/audio/speech": "speech", "/api/chat": "chat", "/api/embed": "embedding",
    "/api/embeddings": "embedding", "/api/generate": "completion",
}  # fmt: skip
CALLERS: dict[str, list[str]] = {
    "everything": ["*"],
    "one-alias": ["alias:m"],
    "admin-alone": ["admin"],
    **{f"route-{one.value}": ["alias:m", f"route:{one.value}"] for one in Operation},
    **{f"not-{one.value}": [f"route:{other.value}" for other in Operation if other is not one] for one in Operation},
}


def key(name: str) -> str:
    return f"authorization: Bearer sk-{name}"


class Scoped:
    """The gateway and its engine."""

    def __init__(self, gateway: Gateway, engine: Engine) -> None:
        self.url = gateway.url
        self.engine = engine

    async def ask(self, path: str, name: str, model: str, **fields: object) -> Answer:
        """A request that the route's decoder understands."""
        if path.startswith("/v1/audio/t"):
            async with Raw(self.url) as raw:
                body = FORM % model.encode()
                head = f"POST {path} HTTP/1.1\r\nhost: x\r\n{key(name)}\r\ncontent-type: multipart/form-data; boundary=b\r\n"
                raw.send(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)
                return await raw.answer()
        body_ = {
            **chat(model),
            "prompt": "a",
            "input": "a",
            "max_tokens": 3,
            "tokens": [1],
            "text_1": "a",
            "text_2": "b",
        }
        body_ |= {"query": "a", "documents": ["b"], "voice": "v", "stream": False, **fields}
        return await once(self.url, path, body_, key(name))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scoped(lane: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scoped]:
    """One gateway for all of them."""
    async with Engine(["m"]) as engine:
        gateways = Gateways(tmp_path_factory.mktemp("scoped"), lane)
        digests = {name: hashlib.sha256(f"sk-{name}".encode()).hexdigest() for name in (*CALLERS, "extra", "any")}
        callers: dict[str, dict[str, Any]] = {
            name: {"tenant": "t", "key_sha256": digests[name], "scopes": scopes} for name, scopes in CALLERS.items()
        }
        callers["extra"] = {"tenant": "t", "key_sha256": digests["extra"], "extras": ["priority"]}
        callers["any"] = {"tenant": "t", "key_sha256": digests["any"], "extras": ["*"]}
        target = {"targets": [{"backends": ["a"], "model": "m"}]}
        gateway = await gateways.start(
            {
                "backends": {"a": {"kind": "vllm", "url": engine.url, "probe": "200ms"}},
                "aliases": {"m": target, "secret": {**target, "also": ["hidden"]}},
                "callers": callers,
            }
        )
        yield Scoped(gateway, engine)
        await gateways.close()


async def test_every_route_of_the_table_is_here() -> None:
    assert sorted(OPERATIONS) == PATHS


@pytest.mark.parametrize("path", PATHS)
async def test_no_route_leads_around_a_scope(scoped: Scoped, path: str) -> None:
    """An alias that is not named, under all its names; a route that is not named; an administrator without a model."""
    scoped.engine.requests.clear()
    operation = OPERATIONS[path]
    refused: list[Callable[[], Awaitable[Answer]]] = [
        *(lambda name=name: scoped.ask(path, "one-alias", name) for name in ("secret", "hidden", "hidden:latest")),
        lambda: scoped.ask(path, "admin-alone", "m"),
        lambda: scoped.ask(path, f"not-{operation}", "m"),
        lambda: scoped.ask(path, f"route-{operation}", "secret"),
    ]
    other = next(one.value for one in Operation if one.value != operation)
    refused.append(lambda: scoped.ask(path, f"route-{other}", "m"))
    for ask in refused:
        answer = await ask()
        assert answer.status == 403, answer
        assert "may not" in answer.error if path != "/v1/messages" else answer.body
    assert not scoped.engine.requests
    for name in ("everything", "one-alias", f"route-{operation}"):
        assert (await scoped.ask(path, name, "m")).status not in {401, 403}


@pytest.mark.parametrize("path", [path for path in PATHS if not path.startswith("/v1/audio/t")])
async def test_fields_that_reach_further_need_a_key_that_may(scoped: Scoped, path: str) -> None:
    """`priority`, `cache_salt` and their like, however they are spelled."""
    scoped.engine.requests.clear()
    for name in NAMES:
        answer = await scoped.ask(path, "everything", "m", **{name: 1})
        assert answer.status == 403
        assert repr(name) in answer.error
    assert not scoped.engine.requests
    assert (await scoped.ask(path, "extra", "m", cache_salt="x")).status == 403
    for caller in ("extra", "any"):
        assert (await scoped.ask(path, caller, "m", priority=1)).status != 403
    escaped = b'{"model":"m","messages":[],"pri\\u006frity":1,"stream":false}'
    assert (await once(scoped.url, path, escaped, key("everything"))).status == 403


async def test_lists_show_no_more_than_may_be_used(scoped: Scoped) -> None:
    """Both protocols'; a name that is not listed cannot be looked at either."""

    async def listed(path: str, caller: str) -> set[str]:
        page = (await once(scoped.url, path, None, key(caller))).json()
        cards = page.get("data", page.get("models"))
        return {str(card.get("id", card.get("name"))).split(":")[0] for card in cards}

    for path in ("/v1/models", "/api/tags"):
        assert await listed(path, "everything") == {"m", "secret", "hidden"}
        assert await listed(path, "one-alias") == await listed(path, "route-chat") == {"m"}
        assert await listed(path, "admin-alone") == set()
        assert await listed(path, "not-chat") == {"m", "secret", "hidden"}
    assert await listed("/api/ps", "one-alias") <= {"m"}
    for caller, status in (("one-alias", 403), ("admin-alone", 403), ("everything", 200)):
        assert (await once(scoped.url, "/v1/models/hidden", None, key(caller))).status == status
        assert (await once(scoped.url, "/api/show", {"model": "secret"}, key(caller))).status == status


async def test_every_other_page_asks_who_it_is(scoped: Scoped) -> None:
    """What is no health page and no greeting is for callers, and a guess at a name tells nothing."""
    guarded = ["/v1/models", "/v1/models/m", "/v1/responses/resp_1", "/api/tags", "/api/ps", "/stats"]
    for path in [*guarded, *(path.partition("{")[0] for path in NOT_SERVED)]:
        assert (await once(scoped.url, path, None, method="GET")).status == 401
    answers = await asyncio.gather(
        *(scoped.ask("/v1/chat/completions", "nobody", name) for name in ("m", "secret", "x"))
    )
    assert {answer.status for answer in answers} == {401}
    assert len({answer.error for answer in answers}) == 1


async def test_a_route_scope_holds_for_stored_answers(scoped: Scoped) -> None:
    """`/v1/responses/ID` is the route of responses as well."""
    made = (await scoped.ask("/v1/responses", "everything", "m")).json()["id"]
    for caller, status in (("everything", 200), ("route-responses", 200), ("route-chat", 403), ("admin-alone", 403)):
        assert (await once(scoped.url, f"/v1/responses/{made}", None, key(caller))).status == status
    assert (await once(scoped.url, f"/v1/responses/{made}", None, key("not-responses"), method="DELETE")).status == 403
