"""`penstock explain-config`: every value and where it came from."""

from __future__ import annotations

from pathlib import Path

from tests.cli.console import run

from penstock.config_schema import json_schema

FILE = """\
backends: {gpu: {kind: vllm, url: "http://10.0.0.5:8000/v1"}}
aliases: {m: {targets: [{backends: [gpu], model: m}]}}
callers: {me: {tenant: t, key_sha256: %s}}
""" % ("ab" * 32)


def test_every_value_with_its_origin(tmp_path: Path) -> None:
    """X2, X3: the resolved URL is printed, with the line that gave it."""
    (tmp_path / "penstock.yaml").write_text(FILE, encoding="utf-8")
    env = {"PENSTOCK_CONFIG": "penstock.yaml", "VLLM_URL": "http://elsewhere:8000"}
    done = run(tmp_path, "explain-config", env=env)
    assert done.code == 0
    lines = [line.split() for line in done.out.splitlines()]
    assert ["backends.gpu.url", "http://10.0.0.5:8000", "penstock.yaml:1"] in lines
    assert ["limits.total", "10m", "default"] in lines
    assert ["callers.me.key_sha256", "abababab…", "penstock.yaml:3"] in lines
    assert "note: VLLM_URL in the environment: not used, penstock.yaml gives the engines" in done.err


def test_the_file_in_this_folder_unless_another_is_named(tmp_path: Path) -> None:
    (tmp_path / "penstock.yaml").write_text("workers: 2\n", encoding="utf-8")
    (tmp_path / "other.yaml").write_text("workers: 3\n", encoding="utf-8")
    env = {"USE_VLLM": "true", "VLLM_MODEL": "llama3.2"}
    here = run(tmp_path, "explain-config", "--json", env=env)
    named = run(tmp_path, "explain-config", "--json", "--config", "other.yaml", env=env)
    by_environment = run(tmp_path, "explain-config", "--json", env=env | {"PENSTOCK_CONFIG": "other.yaml"})
    assert [done.data["config"]["workers"] for done in (here, named, by_environment)] == [2, 3, 3]
    assert here.data["origin"]["workers"] == "penstock.yaml:1"


def test_as_json(tmp_path: Path) -> None:
    env = {"USE_VLLM": "true", "VLLM_HOST": "http://vllm:8000", "VLLM_MODEL": "llama3.2"}
    data = run(tmp_path, "explain-config", "--json", env=env).data
    assert data["config"]["backends"]["vllm"]["url"] == "http://vllm:8000"
    assert data["origin"]["backends.vllm.url"] == "environment VLLM_HOST"
    assert data["origin"]["limits.total"] == "default"
    assert data["notes"] == []


def test_the_schema(tmp_path: Path) -> None:
    assert run(tmp_path, "explain-config", "--schema").out == json_schema()


def test_mistakes_go_to_stderr_with_code_2(tmp_path: Path) -> None:
    done = run(tmp_path, "explain-config", env={"USE_VLLM": "perhaps"})
    assert (done.code, done.out) == (2, "")
    assert "USE_VLLM=perhaps" in done.err
    assert "try: It expects true" in done.err
