"""Document 0, SecOPS: a backend that uses the OpenAI client is pointed at another engine by its environment alone (S0.13 to S0.15)."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import openai
import pytest
import pytest_asyncio
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from pydantic import SecretStr
from tests.fakes.gateway import Gateway, Gateways
from tests.fakes.threads import in_thread

from penstock import environment
from penstock.client import load_config
from penstock.client.langchain import ChatVLLM, VLLMClient
from penstock.errors import Unauthorized
from penstock.faults.engine import Engine

pytestmark = pytest.mark.asyncio(loop_scope="session")

MODEL = "gpt-4o-mini"
"""Written into the backend's code (W1); the gateway serves it as an alias."""


def behind(engine: Engine, **more: object) -> dict[str, object]:
    """vLLM under the name that the backend's code asks for."""
    return {
        "backends": {"gpu": {"kind": "vllm", "url": engine.url}},
        "aliases": {MODEL: {"targets": [{"backends": ["gpu"], "model": "m"}]}},
        **more,
    }


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def engine() -> AsyncIterator[Engine]:
    async with Engine(["m"]) as engine:
        yield engine


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def gateways(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateways]:
    gateways = Gateways(tmp_path_factory.mktemp("secops"), "hot")
    yield gateways
    await gateways.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def served(gateways: Gateways, engine: Engine) -> Gateway:
    return await gateways.start(behind(engine))


@pytest.fixture(params=["OPENAI_API_BASE", "OPENAI_BASE_URL"])
def named(request: pytest.FixtureRequest, served: Gateway, monkeypatch: pytest.MonkeyPatch) -> str:
    """The backend's environment, with the base URL's old name and with the one that today's client reads."""
    for name in environment.NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(request.param, f"{served.url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "dummy")
    return str(request.param)


class Backend:
    """`backend/src/rag` in small: the OpenAI client, constructed as that code constructs it."""

    async def ask(self, question: str) -> str | None:
        async with openai.AsyncOpenAI() as client:
            answer = await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": question}])
        return answer.choices[0].message.content


async def test_the_backend_changes_nothing_but_its_environment(named: str, engine: Engine) -> None:
    """S0.13, S0.14, S0.15, in the corrected form of W1: the OpenAI client reads OPENAI_BASE_URL."""
    if named == "OPENAI_BASE_URL":
        assert await Backend().ask("any alerts?") == "any alerts?"
    else:
        # what the document says works for LangChain's class, which reads the old name too
        answer = await in_thread(lambda: ChatOpenAI(model=MODEL).invoke([HumanMessage("any alerts?")]))
        assert answer.content == "any alerts?"
    assert engine.requests[-1].path == "/v1/chat/completions"


async def test_the_librarys_classes_read_the_same_names(named: str) -> None:
    """S0.13, S0.14: either name says where, and the key that goes there."""
    text, chat = VLLMClient(model=MODEL), ChatVLLM(model=MODEL)
    assert await text.ainvoke("hello") == "hello"
    assert (await chat.ainvoke("hello")).content == "hello"
    assert (b"Authorization", b"Bearer dummy") in text.engines.first.get("/").headers
    config = load_config()
    assert (config.vllm.host, config.api_key, config.use_vllm) == (text.engines.first.url, "dummy", False)
    assert named
    await text.aclose()
    await chat.aclose()


async def test_a_key_is_sent_where_keys_are_asked_for(gateways: Gateways, engine: Engine) -> None:
    """S0.14: "keep consistent with backend expectations": behind a gateway with keys, the same variable holds a real one."""
    digest = hashlib.sha256(b"pk-secops").hexdigest()
    callers = {"secops": {"tenant": "secops", "key_sha256": digest}}
    running = await gateways.start(behind(engine, callers=callers))
    with pytest.raises(Unauthorized):
        await VLLMClient(model=MODEL, base_url=running.url, api_key=SecretStr("dummy")).ainvoke("hello")
    llm = VLLMClient(model=MODEL, base_url=running.url, api_key=SecretStr("pk-secops"))
    assert await llm.ainvoke("hello") == "hello"
    await llm.aclose()
