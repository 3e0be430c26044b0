"""Compose, Kubernetes, Dockerfiles, env files, documents: read as far as rules need them, and nothing more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.rules.engine import engines
from penstock.rules.material import Material, joined
from penstock.rules.read import kind_of, read
from penstock.rules.reading.text import Unreadable
from penstock.rules.table import examine


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("docker-compose.production.yml", "yaml"),
        ("a/Dockerfile", "dockerfile"),
        ("Dockerfile.vllm", "dockerfile"),
        ("vllm.dockerfile", "dockerfile"),
        (".env", "env"),
        (".env.example", "env"),
        ("production.env", "env"),
        ("requirements-dev.txt", "requirements"),
        ("entrypoint.sh", "shell"),
        ("app.py", "python"),
        ("README.md", "document"),
        ("logo.png", ""),
        ("environment", ""),
    ],
)
def test_a_name_says_what_a_file_is(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_compose_with_anchors_and_merge_keys() -> None:
    text = """\
x-common: &common
  environment: &env
    A: "1"
services:
  one:
    <<: *common
    image: app
  two:
    image: app
    environment:
      <<: *env
      B: "2"
      A: "3"
"""
    one, two = read("compose.yaml", text).services
    assert {setting.name: setting.value for setting in one.settings} == {"A": "1"}
    assert {setting.name: setting.value for setting in two.settings} == {"A": "3", "B": "2"}


def test_ports_in_every_spelling() -> None:
    text = """\
services:
  a:
    image: x
    ports:
      - "8001:8000"
      - "127.0.0.1:8001:8000/tcp"
      - "[::1]:8001:8000"
      - 8000
      - {target: 8000, published: "9000", host_ip: 127.0.0.1}
      - "${PORT}:8000"
"""
    (service,) = read("compose.yaml", text).services
    assert [(port.address, port.host, port.container) for port in service.ports] == [
        ("", "8001", "8000"),
        ("127.0.0.1", "8001", "8000"),
        ("::1", "8001", "8000"),
        ("", "", "8000"),
        ("127.0.0.1", "9000", "8000"),
    ]


def test_a_folded_command_keeps_its_lines() -> None:
    text = "services:\n  e:\n    image: vllm/vllm-openai\n    command: >-\n      --model org/m\n      --port 9000\n"
    (engine,) = engines(read("compose.yaml", text))
    port = engine.flag("--port")
    assert port is not None
    assert (port.at.line, port.at.text, engine.port, engine.served) == (6, "--port 9000", "9000", ("org/m",))


def test_an_engine_is_put_together_from_its_files() -> None:
    """Compose names the Dockerfile, that the script, that a variable, and compose sets it."""
    files = {
        "a/compose.yaml": "services:\n  e:\n    build: {context: ., dockerfile: Dockerfile.e}\n    environment: [MODEL=org/m]\n",
        "a/Dockerfile.e": 'FROM x\nENV PORT=9000\nENTRYPOINT ["/bin/start.sh"]\n',
        "a/start.sh": "exec vllm serve $MODEL --port ${PORT:-1} --served-model-name a b\n",
        "b/start.sh": "exec vllm serve other\n",
    }
    found = list(engines(joined(read(name, text) for name, text in files.items())))
    assert [(engine.name, engine.port, engine.served) for engine in found] == [
        ("e", "9000", ("a", "b")),
        ("", "8000", ("other",)),
    ]


def test_docker_run() -> None:
    text = "docker run -d --gpus all -p 127.0.0.1:1:8000 -e A=1 --name e -v a:b vllm/vllm-openai:v0.33.0 org/m --port 8000\n"
    (engine,) = engines(read("run.sh", text))
    assert (engine.kind, engine.name, engine.served) == ("docker run", "e", ("org/m",))
    assert [(port.address, port.host, port.container) for port in engine.ports] == [("127.0.0.1", "1", "8000")]
    assert [setting.name for setting in engine.settings] == ["A"]


def test_a_router_is_no_engine() -> None:
    assert not list(engines(read("c.yaml", "services:\n  r: {image: 'lmcache/vllm-router', ports: ['8000:8000']}\n")))


def test_a_document_is_its_prose_and_its_blocks() -> None:
    text = "# A\n\nWords.\n\n```bash\nvllm openai m\n```\n\n~~~console\n$ vllm openai m\nusage: vllm\n~~~\n\n  ```yaml\n  : [\n  ```\n"
    material = read("a.md", text)
    assert [line.line for line in material.documents[0].lines] == [1, 3]
    assert [finding.evidence[0].line for finding in examine(material)] == [6, 10]


@pytest.mark.parametrize(
    ("name", "text"), [("a.yaml", "a: [1\n"), ("a.py", "import vllm\ndef\n"), ("a.yaml", "\t- a\n"), ("a.py", "vllm\0")]
)
def test_what_is_not_what_its_name_says(name: str, text: str) -> None:
    with pytest.raises(Unreadable, match=name):
        read(name, text)


def test_a_small_file_cannot_become_a_large_one() -> None:
    levels = "\n".join(
        f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    with pytest.raises(Unreadable, match="more values"):
        read("a.yaml", f"a: &a [1, 1]\n{levels}\n")


@given(
    text=st.text(), name=st.sampled_from(["a.yaml", "Dockerfile", "a.sh", ".env", "a.py", "a.md", "requirements.txt"])
)
def test_any_text_is_read_or_refused(text: str, name: str) -> None:
    try:
        found: Material = read(name, text)
    except Unreadable:
        return
    examine(found)


LINES = st.lists(
    st.sampled_from(
        [
            "services:",
            "  vllm:",
            "    image: vllm/vllm-openai:latest",
            "    command: vllm serve $X --port ${P:-80}",
            "    ports: ['8001:8001']",
            "    environment: [VLLM_PORT=1]",
            "FROM vllm/vllm-openai",
            "RUN pip install vllm==0.3.0 \\",
            'ENTRYPOINT ["vllm", "openai"]',
            "docker run -p 1:2 vllm/vllm-openai --model",
            "export A=${A:-$B}",
            "- --device cpu",
            "```bash",
            "```",
            "| table | weights remain encrypted |",
            "apiVersion: v1",
            "kind: Service",
            "---",
        ]
    ),
    max_size=20,
)


@given(lines=LINES, name=st.sampled_from(["a.yaml", "Dockerfile", "a.sh", ".env", "a.md"]))
def test_any_order_of_familiar_lines_is_read_or_refused(lines: list[str], name: str) -> None:
    try:
        found = read(name, "\n".join(lines))
    except Unreadable:
        return
    for finding in examine(found):
        assert finding.evidence
