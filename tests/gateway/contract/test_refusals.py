"""Who is turned away, and in which words: every refusal in the protocol that the client speaks."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.fakes.gateway import Gateway, Gateways
from tests.fakes.raw import Answer, Raw, once, request
from tests.gateway.site import BODY_LIMIT, HEAD_LIMIT, HELLO, SHARED, Site, chat

from penstock.faults.engine import Engine

pytestmark = SHARED

FACES = {
    "openai": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "ollama": "/api/chat",
}
every_face = pytest.mark.parametrize("face", FACES)


def assert_shape(answer: Answer, face: str, status: int) -> str:
    """The error has the protocol's shape and a readable sentence; the sentence."""
    assert answer.status == status, answer.body
    assert answer.header("x-penstock-request-id")
    body = answer.json()
    if face == "ollama":
        assert body.keys() == {"error"}
        assert isinstance(body["error"], str)
    elif face == "anthropic":
        assert body["type"] == "error"
        assert body["error"].keys() == {"type", "message"}
    else:
        assert body["error"].keys() == {"message", "type", "param", "code"}
        assert body["error"]["code"]
    assert len(answer.error) > 10
    return answer.error


@every_face
async def test_unknown_alias(site: Site, face: str) -> None:
    """X12, W31: it lists what is served and names the nearest; the engine is not asked."""
    answer = await site.post(FACES[face], {"model": "with-sparr", "messages": HELLO, "max_tokens": 5})
    words = assert_shape(answer, face, 404)
    assert "with-spare" in words
    assert "via-ollama" in words
    assert not site.first.requests
    if face == "openai":
        assert answer.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("face", "path"),
    [("openai", "/v1/v1/chat/completions"), ("openai", "/nothing"), ("ollama", "/api/nothing"), ("openai", "/v2/chat")],
)
async def test_unknown_route_is_told_from_an_unknown_model(site: Site, face: str, path: str) -> None:
    """W31."""
    answer = await site.post(path, chat())
    words = assert_shape(answer, face, 404)
    assert path in words
    if face == "openai":
        assert answer.json()["error"]["code"] == "route_not_found"


@every_face
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
async def test_wrong_method(site: Site, face: str, method: str) -> None:
    answer = await once(site.url, FACES[face], method=method)
    assert_shape(answer, face, 405)


@every_face
async def test_a_body_over_the_limit_is_refused_before_it_is_sent(site: Site, face: str) -> None:
    """Refused by its announced length: not a byte of it has been read."""
    async with Raw(site.url) as raw:
        raw.send(request(FACES[face], b"", f"content-length: {BODY_LIMIT + 1}"))
        answer = await raw.answer()
        words = assert_shape(answer, face, 413)
        assert str(BODY_LIMIT) in words
        assert not answer.keep_alive
        await raw.end()
    await site.clean()


@every_face
async def test_a_chunked_body_over_the_limit_is_refused_at_the_limit(site: Site, face: str) -> None:
    async with Raw(site.url) as raw:
        raw.send(request(FACES[face], b"", "transfer-encoding: chunked"))
        for _ in range(BODY_LIMIT // 8192 + 1):
            raw.send(b"2000\r\n" + b"x" * 8192 + b"\r\n")
        assert_shape(await raw.answer(), face, 413)
        await raw.end()
    await site.clean()


@every_face
async def test_a_head_over_the_limit(site: Site, face: str) -> None:
    async with Raw(site.url) as raw:
        raw.ask(FACES[face], chat(), *(f"x-{place}: {'y' * 1000}" for place in range(HEAD_LIMIT // 1000 + 1)))
        answer = await raw.answer()
        assert str(HEAD_LIMIT) in assert_shape(answer, face, 431)
        await raw.end()
    await site.clean()


@pytest.mark.parametrize(
    ("path", "face"),
    [
        ("/tokenize", "openai"),
        ("/v1/rerank", "openai"),
        ("/score", "openai"),
        ("/v1/messages/count_tokens", "anthropic"),
    ],
)
async def test_what_no_backend_of_the_alias_can(site: Site, path: str, face: str) -> None:
    """501 in the caller's protocol, naming backends that can."""
    answer = await site.post(path, {"model": "via-ollama", "messages": HELLO, "prompt": "a"})
    words = assert_shape(answer, face, 501)
    assert "first" in words


@pytest.mark.parametrize("path", ["/api/pull", "/api/push", "/api/create", "/api/copy", "/api/blobs/sha256:00"])
async def test_ollama_library_verbs_say_what_to_do_instead(site: Site, path: str) -> None:
    words = assert_shape(await site.post(path, {"model": "x"}), "ollama", 501)
    assert "ollama" in words.lower() or "penstock.yaml" in words
    deleted = await once(site.url, "/api/delete", {"model": "x"}, method="DELETE")
    assert_shape(deleted, "ollama", 501)


ADMIN = [
    "/v1/load_lora_adapter",
    "/v1/unload_lora_adapter",
    "/sleep",
    "/wake_up",
    "/reset_prefix_cache",
    "/collective_rpc",
    "/pause",
    "/resume",
    "/update_weights",
    "/abort_requests",
    "/start_profile",
    "/stop_profile",
    "/scale_elastic_ep",
    "/fault_tolerance/status",
    "/server_info",
    "/invocations",
    "/inference/v1/generate",
    "/is_sleeping",
    "/load",
    "/version",
    "/openapi.json",
    "/kv_event_sources",
    "/docs",
    "/ping",
    "/tokenizer_info",
    "/admin",
    "/stop",
    "/reload",
]


@pytest.mark.parametrize("path", ADMIN)
async def test_engine_admin_routes_are_never_reachable(site: Site, path: str) -> None:
    """W32."""
    for method in ("GET", "POST"):
        answer = await once(site.url, path, {} if method == "POST" else None, method=method)
        assert answer.status in {404, 405}
    dressed = (f"/v1/..{path}", f"//{path[1:]}", f"{path}/", f"/v1/chat/completions/../../..{path}", f"/%2e%2e{path}")
    for variant in dressed:
        assert (await once(site.url, variant, {})).status in {307, 400, 404, 405}
    asked = {request.path for request in site.first.requests} | {request.path for request in site.second.requests}
    assert not asked


async def test_cors_is_closed_to_strangers_and_open_to_the_listed(site: Site) -> None:
    foreign = await site.chat("m", "origin: https://evil.example")
    assert_shape(foreign, "openai", 403)
    assert foreign.header("access-control-allow-origin") is None
    assert not site.first.requests
    for odd in ("http://[::1", "http://[x]", "null"):
        assert (await site.chat("m", f"origin: {odd}")).status == 403
        assert (await once(site.url, "/v1/models", None, f"origin: {odd}")).status == 403
    listed = await site.chat("m", "origin: https://app.example")
    assert listed.status == 200
    assert listed.header("access-control-allow-origin") == "https://app.example"
    stream = await site.chat("m", "origin: https://app.example", stream=True)
    assert stream.header("access-control-allow-origin") == "https://app.example"
    assert (await once(site.url, "/v1/models", None, "origin: https://evil.example")).status == 403


async def test_preflight(site: Site) -> None:
    ask = ("access-control-request-method: POST", "access-control-request-headers: authorization, x-mine")
    for path in FACES.values():
        good = await once(site.url, path, None, "origin: https://app.example", *ask, method="OPTIONS")
        assert good.status in {200, 204}
        assert good.header("access-control-allow-origin") == "https://app.example"
        assert "x-mine" in (good.header("access-control-allow-headers") or "")
        bad = await once(site.url, path, None, "origin: https://evil.example", *ask, method="OPTIONS")
        assert bad.header("access-control-allow-origin") is None
        assert bad.status == 403


# ── with callers ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Kept:
    """A gateway that knows two callers."""

    def __init__(self, gateway: Gateway, engine: Engine) -> None:
        self.url = gateway.url
        self.engine = engine


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kept(lane: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kept]:
    async with Engine(["real-m"]) as engine:
        gateways = Gateways(tmp_path_factory.mktemp("kept"), lane)
        target = {"targets": [{"backends": ["a"], "model": "real-m"}]}
        gateway = await gateways.start(
            {
                "backends": {"a": {"kind": "vllm", "url": engine.url}},
                "aliases": {"m": target, "secret": target},
                "callers": {
                    "all": {"tenant": "t", "key_sha256": hashlib.sha256(b"sk-all").hexdigest()},
                    "one": {
                        "tenant": "t",
                        "key_sha256": hashlib.sha256(b"sk-one").hexdigest(),
                        "scopes": ["alias:m"],
                    },
                },
            }
        )
        yield Kept(gateway, engine)
        await gateways.close()


@every_face
@pytest.mark.parametrize(
    "header", ["", "authorization: Bearer wrong", "authorization: Basic c2stYWxs", "x-api-key: no"]
)
async def test_without_a_good_key_the_body_is_never_read(kept: Kept, face: str, header: str) -> None:
    """S0.16: the refusal comes while the body has not been sent, and ends the connection."""
    async with Raw(kept.url) as raw:
        raw.send(request(FACES[face], b"", *filter(None, [header]), "content-length: 50"))
        answer = await raw.answer()
        assert_shape(answer, face, 401)
        await raw.end()
    assert not kept.engine.requests


@pytest.mark.parametrize(
    "header", ["authorization: Bearer sk-all", "authorization: bearer sk-all", "x-api-key: sk-all"]
)
async def test_a_good_key(kept: Kept, header: str) -> None:
    answer = await once(kept.url, "/v1/chat/completions", chat(), header)
    assert answer.status == 200
    assert "sk-all" not in str(kept.engine.requests[-1].headers)
    kept.engine.requests.clear()


@every_face
async def test_a_scope_that_does_not_name_the_alias(kept: Kept, face: str) -> None:
    key = "authorization: Bearer sk-one"
    ask = {"messages": HELLO, "max_tokens": 5, "stream": False}
    assert_shape(await once(kept.url, FACES[face], {"model": "secret", **ask}, key), face, 403)
    assert not kept.engine.requests
    assert (await once(kept.url, FACES[face], {"model": "m", **ask}, key)).status == 200
    kept.engine.requests.clear()


@pytest.mark.parametrize(
    "path", ["/v1/models", "/v1/models/m", "/api/tags", "/api/ps", "/stats", "/v1/responses/resp_x"]
)
async def test_lists_need_a_key_too(kept: Kept, path: str) -> None:
    assert (await once(kept.url, path)).status == 401
    assert (await once(kept.url, path, None, "authorization: Bearer sk-all")).status in {200, 404}


async def test_probes_need_none(kept: Kept) -> None:
    for path in ("/livez", "/health", "/ready"):
        assert (await once(kept.url, path)).status == 200


async def test_a_refused_client_is_not_told_to_continue(kept: Kept) -> None:
    async with Raw(kept.url) as raw:
        raw.send(request("/v1/chat/completions", b"", "content-length: 50", "expect: 100-continue"))
        assert (await raw.answer()).status == 401
        assert b"100 Continue" not in await raw.end()


async def test_each_pipelined_request_is_judged_by_its_own_key(kept: Kept) -> None:
    """One connection, two callers: neither gets what is the other's."""
    path = "/v1/chat/completions"
    async with Raw(kept.url) as raw:
        raw.send(
            request(path, chat(), "authorization: Bearer sk-all")
            + request(path, chat("secret"), "authorization: Bearer sk-one")
            + request(path, chat("secret"), "authorization: Bearer sk-all")
            + request(path, chat(), "authorization: Bearer sk-nobody")
        )
        statuses = [(await raw.answer()).status for _ in range(4)]
    assert statuses == [200, 403, 200, 401]
    assert len(kept.engine.requests) == 2
    kept.engine.requests.clear()
