"""What an engine's answer means, and the head of a request to it."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import BrokenAnswer, EngineFault, EngineRefused, EngineTimeout, NotLoaded, RateLimited, Unreachable
from penstock.gateway import answer
from penstock.gateway.answer import KeyRefused, MissingRoute
from penstock.gateway.upstream import Origin
from penstock.protocols.dialect import Outgoing
from penstock.types import Operation, Wire


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (404, "The model `x` does not exist", NotLoaded),
        (404, "404 page not found", MissingRoute),
        (405, "", MissingRoute),
        (501, "", MissingRoute),
        (429, "busy", RateLimited),
        (401, "", KeyRefused),
        (403, "", KeyRefused),
        (408, "", EngineRefused),
        (500, "boom", EngineRefused),
        (503, "loading", EngineRefused),
        (599, "", EngineRefused),
        (400, "too long", None),
        (413, "", None),
        (422, "", None),
    ],
)
def test_whose_fault_a_status_is(status: int, message: str, kind: type[EngineFault] | None) -> None:
    fault = answer.fault_of(status, message, "gpu", 7)
    assert (type(fault) if fault else None) is kind
    if fault and fault.retry_after is not None:
        assert status in {408, 429} or status >= 500
        assert fault.retry_after == 7


def test_an_answer_that_the_engine_does_not_know_is_the_callers_affair() -> None:
    assert answer.fault_of(404, "Response with id 'resp_1' not found.", "gpu", None) is None


def test_a_refused_key_names_the_setting() -> None:
    fault = answer.fault_of(401, "invalid key sk-secret", "gpu", None)
    assert fault is not None
    assert "key_env" in fault.hint
    assert "sk-secret" not in fault.sentence()


@pytest.mark.parametrize(
    ("fault", "counts"),
    [
        (Unreachable("x"), True), (EngineRefused("x"), True), (EngineTimeout("x"), True), (BrokenAnswer("x"), True),
        (RateLimited("x"), False), (KeyRefused("x"), False), (NotLoaded("x"), False), (MissingRoute("x"), False),
    ],
)  # fmt: skip
def test_what_the_breaker_hears_of(fault: EngineFault, counts: bool) -> None:  # noqa: FBT001 - a table of cases
    assert answer.counts_against(fault) is counts


@pytest.mark.parametrize(
    ("message", "does"),
    [
        ("model requires more system memory (5.6 GiB) than is available (1.2 GiB)", True),
        ("CUDA error: out of memory", True),
        ("Unable to load model", True),
        ("internal error", False),
    ],
)
def test_a_model_that_cannot_be_loaded_is_told_from_other_errors(message: str, does: bool) -> None:  # noqa: FBT001
    """X14"""
    assert answer.cannot_load(message) is does


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None), (b"0", 0), (b" 12 ", 12), (b"86400", 3600), (b"9" * 5000, None), (b"-5", None), (b"1.5", None),
        (b"", None), (b"soon", None), (b"\xb2", None), (b"Mon, 01 Jan 1990 00:00:00 GMT", 0),
        (b"Mon, 01 Jan 9998 00:00:00 GMT", 3600), (b"Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
    ],
)  # fmt: skip
def test_retry_after(value: bytes | None, seconds: int | None) -> None:
    assert answer.retry_after(value) == seconds


def test_retry_after_a_date_is_never_too_early() -> None:
    soon = time.time() + 60
    assert soon - time.time() <= (answer.retry_after(formatdate(soon, usegmt=True).encode()) or 0) <= 61


@given(st.binary(max_size=40) | st.text("0123456789 :,GMTJanMon+-", max_size=40).map(str.encode))
@settings(max_examples=100)
def test_no_retry_after_harms(value: bytes) -> None:
    found = answer.retry_after(value)
    assert found is None or 0 <= found <= 3600


JSON, EVENTS, LINES = b"application/json", b"text/event-stream", b"application/x-ndjson"


@pytest.mark.parametrize(
    ("status", "kind", "stream", "wire", "said"),
    [
        (200, JSON, False, Wire.OPENAI, ""),
        (200, b"Application/JSON;charset=utf-8", False, Wire.OPENAI, ""),
        (201, JSON, False, Wire.OPENAI, ""),
        (200, EVENTS, True, Wire.OPENAI, ""),
        (200, b"text/event-stream;charset=UTF-8", True, Wire.OPENAI, ""),
        (200, LINES, True, Wire.OLLAMA, ""),
        (200, EVENTS, True, Wire.OLLAMA, ""),
        (200, JSON, True, Wire.OPENAI, "with application/json where text/event-stream belongs"),
        (200, EVENTS, False, Wire.OPENAI, "where application/json belongs"),
        (200, b"text/html", False, Wire.OPENAI, "text/html"),
        (200, b"", False, Wire.OPENAI, "no content type"),
        (302, JSON, False, Wire.OPENAI, "redirect"),
    ],
)
def test_a_head_that_does_not_fit_the_question(status: int, kind: bytes, stream: bool, wire: Wire, said: str) -> None:  # noqa: FBT001
    headers = {b"content-type": kind} if kind else {}
    fault = answer.unfit(status, headers, stream=stream, wire=wire, operation=Operation.CHAT)
    assert bool(fault) is bool(said)
    assert fault is None or said in fault.message


def test_a_compressed_answer_does_not_fit() -> None:
    headers = {b"content-type": JSON, b"content-encoding": b"gzip"}
    fault = answer.unfit(200, headers, stream=False, wire=Wire.OPENAI, operation=Operation.CHAT)
    assert fault is not None
    assert "compressed" in fault.message
    headers[b"content-encoding"] = b"identity"
    assert answer.unfit(200, headers, stream=False, wire=Wire.OPENAI, operation=Operation.CHAT) is None


@pytest.mark.parametrize(("kind", "fits"), [(b"audio/mpeg", True), (b"text/vtt", True), (b"text/html; x", False)])
def test_sound_may_be_of_any_type_but_a_page(kind: bytes, fits: bool) -> None:  # noqa: FBT001 - a table of cases
    headers = {b"content-type": kind, b"content-length": b"9"}
    fault = answer.unfit(200, headers, stream=False, wire=Wire.OPENAI, operation=Operation.TRANSCRIPTION)
    assert (fault is None) is fits


@pytest.mark.parametrize(
    ("framing", "fits"),
    [
        ({b"content-length": b"9"}, True),
        ({b"transfer-encoding": b"chunked"}, True),
        ({b"transfer-encoding": b"gzip, chunked"}, False),
        ({b"transfer-encoding": b"identity"}, False),
        ({}, False),
    ],
)
def test_what_ends_with_its_framing_alone_must_have_one(framing: dict[bytes, bytes], fits: bool) -> None:  # noqa: FBT001
    """Sound that merely stops with its connection might be half of what was said."""
    headers = {b"content-type": b"audio/mpeg", **framing}
    fault = answer.unfit(200, headers, stream=False, wire=Wire.OPENAI, operation=Operation.SPEECH)
    assert (fault is None) is fits


def test_a_part_is_no_answer() -> None:
    fault = answer.unfit(206, {b"content-type": JSON}, stream=False, wire=Wire.OPENAI, operation=Operation.CHAT)
    assert isinstance(fault, BrokenAnswer)


async def test_only_headers_that_engines_know_go_along() -> None:
    origin = Origin("http://user:secret@127.0.0.1:1234/prefix/", connect_timeout=1.0)
    headers = {b"authorization": b"Bearer mine", b"x-session-id": b"s", b"cookie": b"c", b"anthropic-version": b"v"}
    sent = answer.request(
        origin, b"authorization: Bearer theirs\r\n", Outgoing(path="/v1/x", body=b"{}"), b"r-1", headers, b"00-t"
    )
    lines = sent.split(b"\r\n")
    assert lines[:2] == [b"POST /prefix/v1/x HTTP/1.1", b"host: 127.0.0.1:1234"]
    assert lines[-2:] == [b"", b"{}"]
    assert set(lines[2:-2]) == {
        b"accept: */*", b"authorization: Bearer theirs", b"content-type: application/json", b"content-length: 2",
        b"x-request-id: r-1", b"traceparent: 00-t", b"x-session-id: s", b"anthropic-version: v",
    }  # fmt: skip
