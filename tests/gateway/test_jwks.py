"""Where an issuer's keys come from: the configured place alone, bounded, again and again, and never in a flood."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import pytest
from tests.fakes.certificates import Authority, server
from tests.fakes.gateway import StartGateway
from tests.fakes.raw import Raw, once
from tests.gateway.issuer import AUDIENCE, EC, ISSUER, OTHER_RSA, USUAL, Page, document, jwk, token
from tests.gateway.keyed import Waiting
from tests.gateway.site import chat

from penstock.config_auth import Jwt
from penstock.errors import AuthAway, Unauthorized
from penstock.faults.engine import Engine
from penstock.gateway import jwks
from penstock.gateway.jwks import Jwks
from penstock.gateway.line import Line

pytestmark = pytest.mark.asyncio

PATH = "/v1/chat/completions"


@contextlib.asynccontextmanager
async def watching(place: str, **more: Any) -> AsyncIterator[Jwks]:  # noqa: ANN401 - fields of Jwt
    settings = Jwt(issuer=ISSUER, audience=AUDIENCE, jwks=place, **{"refresh": 0.1, **more})
    one = Jwks(settings, cast("Line", Waiting()))
    await one.open()
    try:
        yield one
    finally:
        await one.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - a task of the code under test
            await asyncio.sleep(0.01)


def known(one: Jwks, shown: bytes) -> bool:
    try:
        return one.tokens.identify(shown, time.time()) is not None
    except (AuthAway, Unauthorized):
        return False


async def test_keys_are_renewed_without_a_restart() -> None:
    """The issuer takes another key: its tokens count, and those of the old one do not any more."""
    async with Page() as page, watching(page.url) as one:
        old, new = token(time.time()), token(time.time(), key=OTHER_RSA, kid="n")
        assert known(one, old)
        assert not known(one, new)
        page.body = document(jwk(OTHER_RSA, "n"))
        await until(lambda: known(one, new))
        assert not known(one, old)


async def test_a_file_of_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(USUAL)
    async with watching(str(file)) as one:
        assert known(one, token(time.time()))
        file.write_bytes(document(jwk(EC, "e")))
        await until(lambda: not known(one, token(time.time())))
        assert known(one, token(time.time(), key=EC, algorithm="ES256", kid="e"))


async def test_no_redirect_is_followed() -> None:
    """Neither to another host nor to another scheme: what was not configured is not asked."""
    async with Page() as inner, Page() as page:
        for place in (inner.url, "http://169.254.169.254/latest", "file:///etc/passwd", "/keys2"):
            page.status, page.more = "302 Found", f"location: {place}\r\n"
            async with watching(page.url) as one:
                assert one.tokens.away
        assert inner.asked == []
        assert set(page.asked) == {"/keys"}


async def test_a_page_that_is_wrong_takes_nothing_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too large, no JSON, an error, no answer at all: the keys that are known stay, until they are stale."""
    monkeypatch.setattr(jwks, "WAIT", 0.3)
    monkeypatch.setattr(jwks, "AGAIN", 0.05)
    async with Page() as page, watching(page.url, stale=600.0) as one:
        assert known(one, token(time.time()))
        for body, status in ((b" " * (jwks.LARGEST + 1) + USUAL, "200 OK"), (b"<html>", "200 OK"), (b"", "500 Oops")):
            page.body, page.status = body, status
            looked = one.looks
            await until(lambda: one.looks > looked + 1)  # noqa: B023 - awaited at once
            assert known(one, token(time.time()))
        page.silent = True
        looked = one.looks
        await until(lambda: one.looks > looked + 1)
        assert known(one, token(time.time()))


async def test_keys_that_are_stale_let_nobody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """An issuer that is away for longer than `stale` is not believed on its old word; it is again when it is back."""
    monkeypatch.setattr(jwks, "AGAIN", 0.05)
    async with Page() as page, watching(page.url, stale=0.2) as one:
        shown = token(time.time())
        assert known(one, shown)
        page.status = "503 Away"
        await until(lambda: one.tokens.away)
        with pytest.raises(AuthAway):
            one.tokens.identify(shown, time.time())
        page.status = "200 OK"
        await until(lambda: known(one, shown))


async def test_a_certificate_that_nobody_trusts_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    monkeypatch.setenv("SSL_CERT_FILE", str(ours.file))
    for authority, away in ((ours, False), (theirs, True)):
        async with Page(tls=server(authority.issue("idp", "127.0.0.1"))) as page, watching(page.url) as one:
            assert one.tokens.away is away
            assert known(one, token(time.time())) is not away


async def test_a_flood_of_unknown_keys_is_no_flood_of_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """One look answers all that came before it; without anybody asking there is none."""
    monkeypatch.setattr(jwks, "FLOOR", 0.2)
    async with Page() as page, watching(page.url, refresh=600.0) as one:
        began = time.monotonic()
        for number in range(500):
            assert not known(one, token(time.time(), kid=f"made-up-{number}"))
            if number % 50 == 0:
                await asyncio.sleep(0.02)
        await until(lambda: len(page.asked) > 1)
        assert len(page.asked) <= 2 + (time.monotonic() - began) / 0.2


async def test_a_gateway_that_believes_an_issuer(gateway: StartGateway, scripted_engine: Engine) -> None:
    """From the header to the alias: tenant and scopes are those of the token, and nobody else comes in (X16)."""
    async with Page() as page:
        one = await gateway(
            {
                "backends": {"a": {"kind": "vllm", "url": scripted_engine.url}},
                "aliases": {name: {"targets": [{"backends": ["a"], "model": "m"}]} for name in ("m", "secret")},
                "auth": {"jwt": {"issuer": ISSUER, "audience": AUDIENCE, "jwks": page.url, "refresh": "200ms"}},
            }
        )
        good = f"authorization: Bearer {token(time.time()).decode()}"
        assert (await once(one.url, PATH, chat())).status == 401
        assert (await once(one.url, PATH, chat(), "authorization: Bearer a.b.c")).status == 401
        assert (await once(one.url, PATH, chat("secret"), good)).status == 403
        assert (await once(one.url, "/api/chat", chat(stream=False), good)).status == 200
        short = f"authorization: Bearer {token(time.time(), exp=time.time() - 27).decode()}"
        async with Raw(one.url) as raw, Raw(one.url) as expiring:
            for _ in range(3):
                raw.ask(PATH, chat(), good)
                assert (await raw.answer()).status == 200
            status = 200
            async with asyncio.timeout(30):
                while status == 200:
                    expiring.ask(PATH, chat(), short)
                    status = (await expiring.answer()).status
            assert status == 401
            page.body = document(jwk(OTHER_RSA, "n"))
            async with asyncio.timeout(30):
                while status != 200:
                    new = token(time.time(), key=OTHER_RSA, kid="n").decode()
                    status = (await once(one.url, PATH, chat(), f"authorization: Bearer {new}")).status
            raw.ask(PATH, chat(), good)
            assert (await raw.answer()).status == 401
        assert "eyJ" not in one.log
