"""A vLLM that dies and comes back: what its clients see, and that the fixtures leave nothing behind."""

from __future__ import annotations

import http.client

import pytest
from tests.engines.asking import chat, post
from tests.engines.servers import GUIDE, VllmServer, served_models


def test_a_stream_of_a_killed_server_breaks_off(vllm_to_kill: VllmServer) -> None:
    """No error event, no end of the chunked body: the connection breaks. Afterwards nobody listens, until it is started again."""
    connection = http.client.HTTPConnection("127.0.0.1", vllm_to_kill.port, timeout=30)
    body = (
        b'{"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2000, "ignore_eos": true, "stream": true}'
    )
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    stream = connection.getresponse()
    assert stream.readline().startswith(b"data: ")
    vllm_to_kill.kill()
    with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
        stream.read()
    connection.close()
    assert served_models(vllm_to_kill.port) == []
    with pytest.raises(ConnectionRefusedError):
        post(vllm_to_kill.port, "/v1/chat/completions", chat("Hello", model=GUIDE))
    vllm_to_kill.start()
    assert post(vllm_to_kill.port, "/v1/chat/completions", chat("Hello", model=GUIDE)).status == 200
