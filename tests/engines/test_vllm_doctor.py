"""`penstock doctor` on a real vLLM: what it finds with the launch that the other tests use, and nothing else."""

from __future__ import annotations

import os
import re
import subprocess

from tests.engines.servers import ENVIRONMENT, GUIDE, LLAMA, VENV, VllmServer

from penstock.doctor.live import examine
from penstock.doctor.result import Result
from penstock.doctor.server import Asked
from penstock.rules.vllm import DEFAULT_MODEL, SUBCOMMANDS


def examined(server: VllmServer, path: str = "", **asked: object) -> dict[str, Result]:
    results = examine(server.url + path, Asked(**asked), lambda _: None)  # type: ignore[arg-type]
    return {result.check: result for result in results}


def test_what_is_wrong_with_a_plain_vllm(vllm_generate: VllmServer) -> None:
    """S1.15, S0.11: it closes idle connections as soon as openai's pool does, and the guide's context is a short one."""
    found = examined(vllm_generate, models=(GUIDE, LLAMA))
    assert {name: result.state for name, result in found.items() if result.state != "ok"} == {
        "context": "wrong",
        "keep-alive": "wrong",
    }
    assert found["context"].said == f"the context is too short: `{LLAMA}` has 2048, `{GUIDE}` has 2048 of 4096 tokens"
    seconds = re.search(r"closed after ([\d.]+) s", found["keep-alive"].said)
    assert seconds
    assert 4 < float(seconds[1]) < 6


def test_nothing_is_wrong_for_a_client_that_fits(vllm_generate: VllmServer) -> None:
    found = examined(vllm_generate, "/v1", models=(GUIDE,), needs=2048, pool_idle=2.0)
    assert {name: result.said for name, result in found.items() if result.state != "ok"} == {}


def test_a_wrong_name_and_a_wrong_path(vllm_generate: VllmServer) -> None:
    """W31, X2: vLLM's two kinds of 404."""
    found = examined(vllm_generate, "/v1/v1", models=("llama3.2",), needs=2048, pool_idle=0.1)
    assert {name for name, result in found.items() if result.state == "wrong"} == {"path", "model-name"}
    assert found["path"].said.startswith("/v1 stands twice")
    name, lost = (line.text for line in found["model-name"].findings[0].evidence)
    assert "The model `llama3.2` does not exist" in name
    assert '404 {"detail":"Not Found"}' in lost


def test_open_routes_of_a_server_that_others_reach(vllm_generate: VllmServer) -> None:
    """W32, X16: without a key and with others around, what works and changes stands open; HEAD alone shows it."""
    found = examined(vllm_generate, needs=2048, pool_idle=0.1, public=True)
    assert {name for name, result in found.items() if result.state == "wrong"} == {"keys", "admin-routes"}
    told = " ".join(line.text for line in found["admin-routes"].findings[0].evidence)
    assert "HEAD /invocations without a key → 405" in told
    assert "HEAD /tokenize without a key → 405" in told
    assert "/collective_rpc" not in told


def told(*arguments: str) -> str:
    """What the `vllm` command says of itself."""
    done = subprocess.run(
        [VENV / "bin/vllm", *arguments],
        env={**os.environ, **ENVIRONMENT, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    return done.stdout


def test_the_options_that_rules_speak_of() -> None:
    """W3, W8, W9, W10: what is gone is gone, and what is to be used instead is there."""
    text = told("serve", "--help=all")
    options = set(re.findall(r"--[a-z][a-z-]+", text))
    gone = {"--lora-path", "--device", "--disable-log-requests", "--speculative-model", "--num-speculative-tokens"}
    assert gone & options == set()
    assert {
        "--enable-lora",
        "--lora-modules",
        "--served-model-name",
        "--enable-log-requests",
        "--enable-log-outputs",
    } <= options
    assert {"--speculative-config", "--block-size", "--api-key", "--port", "--host"} <= options
    assert DEFAULT_MODEL in text


def test_the_subcommands_that_rules_speak_of() -> None:
    """W2."""
    found = re.search(r"\{([a-z,-]+)\}", told("--help"))
    assert found
    assert set(found[1].split(",")) == SUBCOMMANDS
