"""`penstock up`: from nothing to two answers, and out again."""

from __future__ import annotations

import hashlib
import os
import select
import signal
import socket
import stat
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme
from tests.cli.console import LIMIT, clean, first_document, run, started
from tests.fakes.hub import Hub, serving

from penstock.engine.guide import guide_file

PAIRS = {
    "What can you do?": "I can answer a few hundred short questions about Penstock",
    "Which protocols does Penstock speak?": "The OpenAI API and the Ollama API, both on the same port.",
}


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_once_asks_both_apis_prints_and_ends(tmp_path: Path) -> None:
    done = run(tmp_path, "up", "--once", "--model", "guide", "--port", "0")
    assert done.code == 0, done.err
    for question, answer in PAIRS.items():
        assert question in done.out
        assert answer in done.out
    assert "guide from local" in done.out
    assert "· starting the gateway" in done.err
    # what it wrote is for its owner alone, and reads back
    assert stat.S_IMODE((tmp_path / "state" / "up.yaml").stat().st_mode) == 0o600
    assert run(tmp_path, "explain-config", "--config", "state/up.yaml").code == 0


def test_json_holds_real_answers_with_real_counts(tmp_path: Path) -> None:
    done = run(tmp_path, "up", "--once", "--json", "--model", "guide", "--port", "0")
    assert done.code == 0, done.err
    facts = done.data
    assert [one["api"] for one in facts["asked"]] == ["OpenAI", "Ollama"]
    assert {
        one["question"]: one["answer"].startswith(PAIRS[one["question"]]) for one in facts["asked"]
    } == dict.fromkeys(PAIRS, True)
    assert all(one["prompt_tokens"] > 0 and one["completion_tokens"] > 0 for one in facts["asked"])
    assert {(one["backend"], one["model"]) for one in facts["asked"]} == {("local", "guide")}
    assert facts["models"] == ["guide"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_it_serves_until_it_is_told_to_stop_and_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    with started(tmp_path, "up", "--model", "guide", "--port", "0", "--json") as process:
        port = port_of(first_document(process)["url"])
        assert answers(port)
        process.send_signal(number)
        assert process.wait(LIMIT) == 0
    assert not answers(port)


def test_the_gateway_does_not_outlive_a_killed_starter(tmp_path: Path) -> None:
    with started(tmp_path, "up", "--model", "guide", "--port", "0", "--json") as process:
        gateway = os.pidfd_open(first_document(process)["pid"])
        process.kill()
        process.wait(LIMIT)
    ended, _, _ = select.select([gateway], [], [], LIMIT)
    os.close(gateway)
    assert ended


def test_a_busy_port_names_who_answers_there(tmp_path: Path, guide_url: str) -> None:
    port = port_of(guide_url)
    done = run(tmp_path, "up", "--model", "guide", "--port", str(port))
    assert done.code == 2
    assert f"Listening on 127.0.0.1:{port}: the port is busy. Another Penstock answers there (process " in done.err
    assert "--port" in done.err
    assert done.out == ""


def test_a_second_one_in_a_folder_touches_nothing(tmp_path: Path) -> None:
    """The configuration and the log that lie there are those of the gateway that runs."""
    with started(tmp_path, "up", "--model", "guide", "--port", "0", "--json") as process:
        first_document(process)
        before = {name: (tmp_path / "state" / name).read_bytes() for name in ("up.yaml", "up.log")}
        done = run(tmp_path, "up", "--once", "--model", "guide", "--port", "0")
        after = {name: (tmp_path / "state" / name).read_bytes() for name in before}
    assert done.code == 2
    assert f"Starting in {tmp_path}: a gateway (process " in done.err
    assert "start this one in another folder" in done.err
    assert after["up.yaml"] == before["up.yaml"]
    assert after["up.log"].startswith(before["up.log"])


def test_a_certificate_that_is_not_trusted_is_told_at_once(tmp_path: Path) -> None:
    """And with the name of what signed it, it is served over TLS."""
    signer = trustme.CA()
    signer.cert_pem.write_to_path(tmp_path / "ca.pem")
    signer.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "own.pem")
    (tmp_path / "penstock.yaml").write_text(
        "tls: {cert: own.pem, key: own.pem}\n"
        "backends: {local: {kind: embedded, model: guide}}\n"
        "aliases: {guide: {targets: [{backends: [local], model: guide}]}}\n",
        encoding="utf-8",
    )
    done = run(tmp_path, "up", "--once", "--port", "0")
    assert done.code == 2
    assert "its certificate is not trusted here" in done.err
    assert "SSL_CERT_FILE" in done.err
    done = run(tmp_path, "up", "--once", "--port", "0", env={"SSL_CERT_FILE": str(tmp_path / "ca.pem")})
    assert done.code == 0, done.err


def test_once_asks_as_a_caller_or_says_that_it_cannot(tmp_path: Path) -> None:
    """A run whose whole purpose is two answers does not end well without them."""
    (tmp_path / "penstock.yaml").write_text(
        "backends: {local: {kind: embedded, model: guide}}\n"
        "aliases: {guide: {targets: [{backends: [local], model: guide}]}}\n"
        f"callers: {{notes: {{tenant: t, key_sha256: {hashlib.sha256(b'open sesame').hexdigest()}}}}}\n",
        encoding="utf-8",
    )
    done = run(tmp_path, "up", "--once", "--port", "0")
    assert done.code == 2
    assert "error: Asking guide: callers are configured, and PENSTOCK_API_KEY holds no key." in done.err
    assert "try: Set PENSTOCK_API_KEY to the key of one of them: notes." in done.err
    assert done.out == ""
    done = run(tmp_path, "up", "--once", "--port", "0", env={"PENSTOCK_API_KEY": "open sesame"})
    assert done.code == 0, done.err
    assert PAIRS["What can you do?"] in done.out


def test_a_model_from_the_hub(tmp_path: Path) -> None:
    """A name on a hub is downloaded, checked and served under that name."""
    with serving(Hub("water/guide-GGUF", {"guide-q8_0.gguf": guide_file().read_bytes()})) as hub:
        env = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "no_proxy": "*"}
        done = run(tmp_path, "up", "--once", "--json", "--port", "0", "--model", "water/guide-GGUF:q8_0", env=env)
    assert done.code == 0, done.err
    assert done.data["models"] == ["water/guide-GGUF:q8_0"]
    assert {one["model"] for one in done.data["asked"]} == {"water/guide-GGUF:q8_0"}
    assert all(one["answer"] for one in done.data["asked"])


def test_an_environment_with_an_engine_is_used(tmp_path: Path, guide_url: str) -> None:
    """S0.13, S3.9: here the engine behind the documents' names is another Penstock on another port."""
    env = {"OPENAI_BASE_URL": f"{guide_url}/v1", "VLLM_MODEL": "guide"}
    done = run(tmp_path, "up", "--once", "--json", "--port", "0", env=env)
    assert done.code == 0, done.err
    assert {one["backend"] for one in done.data["asked"]} == {"openai"}


def test_an_environment_that_leads_back_to_us_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, "up", "--once", "--port", "8123", env={"OPENAI_BASE_URL": "http://127.0.0.1:8123/v1"})
    assert done.code == 2
    assert "where this gateway itself listens" in done.err


@pytest.mark.parametrize(
    ("model", "part"),
    [
        ("nowhere.gguf", "there is no such file"),
        ("what is this", "it is neither `guide`, nor a GGUF file, nor OWNER/NAME on the hub"),
    ],
)
def test_a_model_that_is_not_there(tmp_path: Path, model: str, part: str) -> None:
    done = run(tmp_path, "up", "--once", "--port", "0", "--model", model)
    assert done.code == 2
    assert part in done.err
    assert "try: " in done.err


def test_a_file_that_is_no_model_ends_with_the_engines_own_words(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"not a model at all, whatever its name says")
    done = run(tmp_path, "up", "--once", "--port", "0", "--model", "broken.gguf")
    assert done.code == 1
    assert "it is not a GGUF file" in done.err
    assert "state/up.log" in done.err


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the folder should be", encoding="utf-8")
    done = run(tmp_path, "up", "--once", "--port", "0", "--model", "guide")
    assert done.code == 2
    assert "Start `penstock up` in a folder that you may write to." in done.err


def test_a_port_that_is_none(tmp_path: Path) -> None:
    assert run(tmp_path, "up", "--port", "70000").code == 2


def test_the_tests_environment_is_clean() -> None:
    assert "PENSTOCK_CONFIG" not in clean()
