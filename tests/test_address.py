"""Addresses and base URLs have one normal form, and what is ambiguous is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.address import Address, base_url, ollama_url, parse_address, url_address


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("http://vllm:8000", "http://vllm:8000"),
        ("http://vllm:8000/", "http://vllm:8000"),
        ("http://vllm:8000/v1", "http://vllm:8000"),
        ("http://vllm:8000/v1/", "http://vllm:8000"),
        ("HTTP://VLLM:80/v1", "http://vllm"),
        ("https://api.example/openai/v1", "https://api.example/openai"),
        ("https://api.example:443", "https://api.example"),
        ("http://[::1]:8001/v1", "http://[::1]:8001"),
    ],
)
def test_with_and_without_v1_are_one_url(text: str, normal: str) -> None:
    """X2, S0.13, S1.21, S3.9: the documents write the same engine both ways."""
    assert base_url(text) == normal
    assert base_url(normal) == normal


@pytest.mark.parametrize(
    "text",
    [
        "",
        "vllm:8000",
        "ftp://vllm",
        "http://",
        "http:///v1",
        "http://vllm:8000/v1/v1",
        "http://vllm:8000/v1/chat/completions",
        "http://vllm:8000/v1/proxy/v1",
        "http://vllm:99999",
        "http://vllm:0",
        "http://vllm:port",
        "http://key@vllm:8000",
        "http://vllm:8000?x=1",
        "http://vllm:8000/#top",
        "http://vl lm:8000",
        "http://[::1:8000",
        "http://ollama:11434/api",
    ],
)
def test_what_is_ambiguous_or_no_url_is_refused(text: str) -> None:
    """X2: `/v1/v1` cannot come about."""
    with pytest.raises(ValueError, match=r"a (base )?URL"):
        base_url(text)


@given(st.lists(st.sampled_from(["v1", "openai", "a"]), max_size=4), st.sampled_from(["", "/"]))
def test_no_path_ever_leads_to_two_v1(segments: list[str], end: str) -> None:
    """X2: whatever is accepted, appending /v1 gives exactly one."""
    text = "/".join(["http://engine:8000", *segments]) + end
    try:
        normal = base_url(text)
    except ValueError:
        return
    assert f"{normal}/v1".count("/v1") == 1


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:11435", "http://127.0.0.1:11435"),
        ("127.0.0.1", "http://127.0.0.1:11434"),
        (":11436", "http://127.0.0.1:11436"),
        ("ollama", "http://ollama:11434"),
        ("ollama:9000", "http://ollama:9000"),
        ("http://ollama", "http://ollama"),
        ("https://ollama.example", "https://ollama.example"),
        ("http://ollama:11434/", "http://ollama:11434"),
        ("[::1]", "http://[::1]:11434"),
        ("[::]:11434", "http://127.0.0.1:11434"),
        ('"ollama:1"', "http://ollama:1"),
    ],
)
def test_ollama_host_reads_as_in_ollama(text: str, url: str) -> None:
    assert ollama_url(text) == url


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:8000", ("127.0.0.1", 8000)), ("[::1]:0", ("::1", 0)), ("localhost:1", ("localhost", 1))],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == Address(*address)
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    "text", ["", "8000", ":8000", "::1:8000", "[x]:80", "a:b", "a:65536", "http://a:80", "a b:80", "a:²"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"a port|an address|an IPv6"):
        parse_address(text)


@pytest.mark.parametrize(
    ("listener", "url", "ours"),
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000", True),
        ("127.0.0.1:8000", "http://localhost:8000", True),
        ("0.0.0.0:8000", "http://127.0.0.1:8000", True),
        ("127.0.0.1:80", "http://localhost", True),
        ("[::1]:8000", "http://localhost:8000", True),
        ("127.0.0.1:8000", "http://127.0.0.1:8001", False),
        ("127.0.0.1:8000", "http://10.0.0.5:8000", False),
        ("10.0.0.5:8000", "http://10.0.0.5:8000", True),
        ("127.0.0.1:0", "http://127.0.0.1:8000", False),
    ],
)
def test_what_leads_back_to_us(listener: str, url: str, *, ours: bool) -> None:
    assert parse_address(listener).reaches(url_address(url)) is ours
