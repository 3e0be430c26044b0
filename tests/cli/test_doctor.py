"""`penstock doctor` from outside: what it prints, and how it ends."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tests.cli.console import run
from tests.doctor.double import Double, serving

FIXTURES = Path(__file__).parents[1] / "doctor" / "fixtures"
BRIEF = {"connection": "close"}
OURS = {"x-penstock-request-id": "r"}


def test_what_is_wrong_is_printed_with_evidence_and_mend(tmp_path: Path) -> None:
    done = run(FIXTURES / "wrong", "doctor", "seed-3")
    assert done.code == 1
    lines = [line.strip() for line in done.out.splitlines()]
    assert any(line.startswith("W7  VLLM_PORT in the engine's environment") for line in lines)
    assert "seed-3/docker-compose-vllm.yml:14: - VLLM_PORT=8000" in lines
    assert any(line.startswith("mend: use --port for the API") for line in lines)
    assert lines[-1].endswith("findings in 7 files")
    assert not list(tmp_path.iterdir())


def test_a_folder_without_anything_to_examine_is_not_called_well(tmp_path: Path) -> None:
    done = run(tmp_path, "doctor")
    assert (done.code, done.out) == (2, "")
    assert "error: Examining .: nothing there that a rule looks at." in done.err


def test_the_howto_shows_what_is_printed() -> None:
    page = (Path(__file__).parents[2] / "docs" / "howto" / "doctor.md").read_text(encoding="utf-8")
    shown = page.partition("```\nW7")[2].partition("```")[0]
    assert f"W7{shown}" in run(FIXTURES / "wrong" / "seed-3", "doctor").out


def test_nothing_is_wrong() -> None:
    done = run(FIXTURES / "mended" / "seed-3", "doctor")
    assert (done.code, done.out) == (0, "nothing wrong in 7 files\n")


def test_one_file_as_json() -> None:
    done = run(FIXTURES / "wrong", "doctor", "seed-2/vllm-integration.md", "--json")
    assert done.code == 1
    assert done.data["healthy"] is False
    assert done.data["files"] == ["seed-2/vllm-integration.md"]
    claims = {finding["rule"]: finding for finding in done.data["findings"] if finding["claim"]}
    assert claims["W13"]["evidence"] == [
        {
            "file": "seed-2/vllm-integration.md",
            "line": 10,
            "text": "- **Privacy-Preserving Inference**: Model weights remain encrypted",
        }
    ]
    assert set(done.data["rules"]) >= {"W1", "W14", "W30", "W31", "W32"}


def test_claims_are_called_claims() -> None:
    """W12, W13."""
    done = run(FIXTURES / "wrong", "doctor", "seed-2")
    assert "W12 (a claim)" in done.out
    assert "2 claims of documents among them" in done.out


def test_a_server_that_is_well() -> None:
    with serving(Double(headers=BRIEF)) as double:
        double.add("/metrics", method="GET")
        double.routes["GET", "/metrics"] = (200, b"# TYPE x gauge\nvllm:num_requests_running 0.0\n")
        double.routes["POST", "/v1/chat/completions"] = (200, {})
        done = run(FIXTURES, "doctor", f"{double.url}/v1")
    assert done.code == 0
    assert "✓ path: GET /v1/models lists 1 models" in done.out
    assert "asked: HEAD without a key" in done.out
    assert done.out.endswith("nothing wrong in 1 server\n")
    assert f"asking {double.url}/v1" in done.err


def test_a_server_and_files_together() -> None:
    with serving(Double(headers=BRIEF)) as double:
        done = run(FIXTURES / "mended", "doctor", "seed-3", f"{double.url}/v1/v1", "--json")
    assert done.code == 1
    states = {check["check"]: check["state"] for check in done.data["checks"]}
    assert (states["path"], states["clock"]) == ("wrong", "ok")
    assert {finding["rule"] for finding in done.data["findings"]} == {"path", "metric-names"}
    assert len(done.data["files"]) == 7


def test_a_key_is_read_from_the_environment_and_never_shown() -> None:
    """W32."""
    double = Double(key="the-key-of-the-engine", headers=BRIEF)
    double.add("/invocations")
    with serving(double):
        without = run(FIXTURES, "doctor", double.url, "--json")
        done = run(FIXTURES, "doctor", double.url, "--key-env", "ENGINE", env={"ENGINE": double.key})
    assert [check["state"] for check in without.data["checks"] if check["check"] == "path"] == ["unknown"]
    assert "✓ path" in done.out
    assert "✗ admin-routes" in done.out
    assert double.key not in done.out + done.err


def test_what_the_configuration_names_is_examined(tmp_path: Path) -> None:
    """W31: the model of each target is the one that its backend is asked for."""
    with serving(Double(headers=BRIEF)) as engine, serving(Double(headers=BRIEF | OURS)) as gateway:
        config = {
            "listen": [gateway.url.removeprefix("http://")],
            "backends": {"gpu": {"kind": "vllm", "url": engine.url}, "local": {"kind": "embedded", "model": "guide"}},
            "aliases": {
                "a": {
                    "targets": [{"backends": ["gpu"], "model": "org/other"}, {"backends": ["local"], "model": "guide"}]
                }
            },
        }
        (tmp_path / "penstock.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        done = run(tmp_path, "doctor", "--config", "penstock.yaml", "--json")
    assert done.code == 1
    assert {check["url"] for check in done.data["checks"]} == {engine.url, gateway.url}
    assert {finding["rule"]: finding["wrong"] for finding in done.data["findings"]}["model-name"].startswith(
        "`org/other` is"
    )
    assert done.data["files"] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nothing.yaml",), "there is no such file or folder"),
        (("ftp://host",), "a URL that begins with http://"),
        (("http://user:word@host",), "a URL without user or password"),
        (("--needs", "0", "http://127.0.0.1:9"), "--needs"),
        (("--config", "nothing.yaml"), "nothing.yaml"),
    ],
)
def test_a_question_that_cannot_be_meant(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    done = run(tmp_path, "doctor", *arguments)
    assert done.code == 2
    assert words in done.err
    assert "user:word" not in done.err


def test_nobody_there_is_a_finding(tmp_path: Path) -> None:
    done = run(tmp_path, "doctor", "http://127.0.0.1:9")
    assert done.code == 1
    assert "nobody answers: connection refused" in done.out


def test_a_file_that_cannot_be_read_is_noted(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: [", encoding="utf-8")
    done = run(tmp_path, "doctor")
    assert done.code == 0
    assert "not read: a.yaml:1: not YAML" in done.err


def test_nothing_under_examination_steers_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "start.sh").write_text("vllm openai \x1b]0;owned\x07 \x1b[2J\n", encoding="utf-8")
    odd = {"object": "list", "data": [{"id": "m\x1b[31m", "owned_by": "vllm"}]}
    with serving(Double({("GET", "/v1/models"): (200, odd)}, headers=BRIEF)) as double:
        done = run(tmp_path, "doctor", ".", double.url)
    assert done.code == 1
    assert "m�[31m" in done.out
    assert "\x1b" not in done.out + done.err
