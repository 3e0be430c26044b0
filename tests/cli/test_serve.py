"""`penstock serve`: the gateway in the foreground."""

from __future__ import annotations

import hashlib
import json
import signal
import socket
import urllib.request
from pathlib import Path

import pytest
from tests.cli.console import LIMIT, Done, run, started

GUIDE = """\
listen: ["127.0.0.1:0"]
backends: {local: {kind: embedded}}
aliases: {guide: {targets: [{backends: [local], model: guide}]}}
"""


def test_it_says_where_it_serves_and_stops_when_told(tmp_path: Path) -> None:
    (tmp_path / "penstock.yaml").write_text(GUIDE, encoding="utf-8")
    with started(tmp_path, "serve", "--config", "penstock.yaml") as process:
        assert process.stdout is not None
        address = json.loads(process.stdout.readline())["listen"][0]
        with urllib.request.urlopen(f"http://{address}/livez", timeout=LIMIT) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT) == 0


def test_callers_need_their_key(tmp_path: Path) -> None:
    """X16: the verbs that ask send the key that PENSTOCK_API_KEY holds; the configuration knows its digest alone."""
    callers = f"callers: {{me: {{tenant: t, key_sha256: {hashlib.sha256(b'open sesame').hexdigest()}}}}}\n"
    (tmp_path / "penstock.yaml").write_text(GUIDE + callers, encoding="utf-8")
    with started(tmp_path, "serve", "--config", "penstock.yaml") as process:
        assert process.stdout is not None
        url = f"http://{json.loads(process.stdout.readline())['listen'][0]}"
        refused = run(tmp_path, "models", "--url", url)
        allowed = run(tmp_path, "models", "--url", url, env={"PENSTOCK_API_KEY": "open sesame"})
    assert refused.code == 1
    assert "401" in refused.err
    assert "PENSTOCK_API_KEY" in refused.err
    assert allowed.code == 0
    assert "guide" in allowed.out


def test_a_configuration_with_mistakes_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "penstock.yaml").write_text("listn: []\nworkers: 0\n", encoding="utf-8")
    done = run(tmp_path, "serve", "--config", "penstock.yaml")
    assert done.code == 2
    assert "penstock.yaml:1: listn: unknown key; did you mean 'listen'?" in done.err
    assert "penstock.yaml:2: workers: expects a whole number, at least 1, not 0" in done.err
    assert done.out == ""


def test_an_address_beyond_this_machine_needs_callers(tmp_path: Path) -> None:
    """X16, W32."""
    public = GUIDE.replace("127.0.0.1", "0.0.0.0")
    (tmp_path / "penstock.yaml").write_text(public, encoding="utf-8")
    done = run(tmp_path, "serve", "--config", "penstock.yaml")
    assert done.code == 2
    assert "no callers are configured" in done.err


def with_mistake(folder: Path, more: str) -> Done:
    (folder / "penstock.yaml").write_text(GUIDE + more, encoding="utf-8")
    done = run(folder, "serve", "--config", "penstock.yaml")
    assert done.out == ""
    assert "Traceback" not in done.err
    return done


@pytest.mark.parametrize("workers", [1, 2])
def test_what_keeps_the_gateway_from_starting_is_told_as_by_every_verb(tmp_path: Path, workers: int) -> None:
    """One error, with what to try, whichever process met it; with several workers nobody is started again and again."""
    with socket.create_server(("127.0.0.1", 0)) as occupant:
        address = f"127.0.0.1:{occupant.getsockname()[1]}"
        file = GUIDE.replace("127.0.0.1:0", address) + f"workers: {workers}\n"
        (tmp_path / "penstock.yaml").write_text(file, encoding="utf-8")
        done = run(tmp_path, "serve", "--config", "penstock.yaml")
    assert done.code == 2
    _, told, hint = done.err.splitlines()
    assert told.startswith(f"error: Listening on {address}: the port is busy.")
    assert hint.startswith("try: Stop it, or choose another port")


def test_a_certificate_that_cannot_be_used_is_told_before_anything_listens(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("no certificate", encoding="utf-8")
    done = with_mistake(tmp_path, "tls: {cert: cert.pem, key: key.pem}\n")
    assert done.code == 2
    assert "error: Reading tls.key 'key.pem': No such file or directory.\ntry: " in done.err
    (tmp_path / "key.pem").write_text("no key", encoding="utf-8")
    done = with_mistake(tmp_path, "tls: {cert: cert.pem, key: key.pem}\n")
    assert done.code == 2
    assert "error: Reading tls.cert 'cert.pem' and tls.key 'key.pem': " in done.err
    assert "try: Both are PEM files" in done.err


def test_workers_that_cannot_start_as_configured_end_the_gateway(tmp_path: Path) -> None:
    """Here by an admin socket whose path is longer than the system takes."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        public = GUIDE.replace("127.0.0.1:0", f"127.0.0.1:{free.getsockname()[1]}")
    (tmp_path / "penstock.yaml").write_text(f"{public}workers: 2\nadmin: {'x' * 200}.sock\n", encoding="utf-8")
    done = run(tmp_path, "serve", "--config", "penstock.yaml")
    assert done.code == 2
    assert "error: " in done.err
    assert "try: " in done.err
