"""Loading: the order of precedence, strictness, all mistakes at once, and the origin of every value."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from penstock.config import Config, Loaded
from penstock.errors import ConfigError
from penstock.sources import load
from penstock.types import Kind

Write: TypeAlias = Callable[[str], Path]

DESIGN = """\
    listen: [127.0.0.1:8000]
    backends:
      gpu-0:  {kind: vllm,   url: "http://10.0.0.5:8000/v1"}
      gpu-1:  {kind: vllm,   url: "http://10.0.0.6:8000"}
      spare:  {kind: ollama, url: "http://127.0.0.1:11434"}
      local:  {kind: embedded, model: guide}
    aliases:
      llama3.1:8b:
        also: [meta-llama/Meta-Llama-3.1-8B-Instruct, llama3.1]
        targets:
          - {backends: [gpu-0, gpu-1], model: meta-llama/Meta-Llama-3.1-8B-Instruct}
          - {backends: [spare], model: "llama3.1:8b"}
          - {backends: [local], model: guide}
        fallback: any
        midstream: error
    limits: {connect: 2s, first_token: 30s, between_tokens: 15s, total: 10m, attempts: 3, queue: 200, body: 32MiB}
    state: sqlite:///var/penstock.db
    """


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes penstock.yaml in a folder of its own, made the current one so that messages are short."""
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> Path:
        Path("penstock.yaml").write_text(textwrap.dedent(text), encoding="utf-8")
        return Path("penstock.yaml")

    return write


def refused(path: Path | None, environ: dict[str, str]) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(path, environ)
    return caught.value


def test_the_file_of_the_design_loads(written: Write) -> None:
    loaded = load(written(DESIGN), {})
    config = loaded.config
    assert list(config.backends) == ["gpu-0", "gpu-1", "spare", "local"]
    assert config.backends["gpu-0"].url == "http://10.0.0.5:8000"
    assert (config.backends["local"].slots, config.backends["gpu-0"].slots) == (4, 256)
    assert config.limits.total == 600.0
    assert config.limits.body == 32 * 2**20
    assert config.limits.queue_wait == 30.0
    assert config.default_alias == "llama3.1:8b"
    assert loaded.notes == ()


def test_every_value_tells_its_origin(written: Write) -> None:
    """X3: explain-config can say of each value where it came from."""
    origin = load(written(DESIGN), {"OLLAMA_ORIGINS": "https://chat.example"}).origin
    assert origin["limits.connect"] == "penstock.yaml:16"
    assert origin["limits.idle"] == "default"
    assert origin['aliases."llama3.1:8b".targets[0].backends[1]'] == "penstock.yaml:11"
    assert origin["backends.local.slots"] == "default"
    assert origin["cors[0]"] == "environment OLLAMA_ORIGINS"


def test_nothing_configured_and_nothing_found_is_the_guide() -> None:
    """X3."""
    loaded = load(None, {})
    assert loaded.config.backends["local"].kind is Kind.EMBEDDED
    assert loaded.config.backends["local"].model == "guide"
    assert loaded.config.backends["local"].slots == 4
    assert loaded.config.default_alias == "guide"
    assert loaded.origin["aliases.guide.targets[0].model"] == "the bundled model"
    assert loaded.origin["limits.total"] == "default"


def test_the_order_of_precedence(written: Write) -> None:
    """X3: file, then PENSTOCK_*, then the documents' names, then engines found, then the guide."""
    served = {"http://127.0.0.1:11434": ("tiny:1b",)}

    def ask(_: Kind, url: str) -> tuple[str, ...]:
        return served.get(url, ())

    documents = {"OPENAI_BASE_URL": "http://10.0.0.1:8001/v1", "VLLM_MODEL": "named"}
    own = {"PENSTOCK_LISTEN": "127.0.0.1:9001, [::1]:9001", "PENSTOCK_STATE": "sqlite:///elsewhere.db"}
    assert list(load(None, {}, ask).config.aliases) == ["tiny:1b"]
    assert list(load(None, documents, ask).config.aliases) == ["named"]
    mixed = load(None, documents | own, ask)
    assert mixed.config.listen == ("127.0.0.1:9001", "[::1]:9001")
    assert mixed.origin["listen[1]"] == "environment PENSTOCK_LISTEN"
    assert mixed.config.state == "sqlite:///elsewhere.db"
    from_file = load(written(DESIGN), documents | own, ask)
    assert from_file.config.listen == ("127.0.0.1:8000",)
    assert list(from_file.config.aliases) == ["llama3.1:8b"]
    assert from_file.notes == (
        "PENSTOCK_LISTEN in the environment: not used, penstock.yaml:1 gives listen",
        "PENSTOCK_STATE in the environment: not used, penstock.yaml:17 gives state",
        "OPENAI_BASE_URL, VLLM_MODEL in the environment: not used, penstock.yaml gives the engines",
    )


def test_a_file_without_engines_takes_them_from_the_environment(written: Write) -> None:
    loaded = load(written("listen: [127.0.0.1:9000]\n"), {"VLLM_URL": "http://vllm:8000/v1", "VLLM_MODEL": "m"})
    assert loaded.config.listen == ("127.0.0.1:9000",)
    assert loaded.config.backends["vllm"].url == "http://vllm:8000"


def test_the_files_path_from_the_environment(written: Write) -> None:
    path = written(DESIGN)
    assert load(None, {"PENSTOCK_CONFIG": str(path)}).config == load(path, {}).config
    assert "cannot be read" in refused(None, {"PENSTOCK_CONFIG": "nowhere.yaml"}).message


def test_all_mistakes_are_told_at_once(written: Write) -> None:
    path = written(
        """\
        listn: [127.0.0.1:8000]
        workers: 0
        backends:
          gpu-0: {kind: vlm, ulr: "http://10.0.0.5:8000", probe: 2x}
          gpu-1: {kind: vllm, url: 12, key_env: sk-very-secret}
        aliases:
          llama3.1:8b:
            targets:
              - {backends: gpu-0, model: 7}
            fallback: anny
        limits:
        log: {requests: "no"}
        callers: {me: {tenant: a, key_sha256: very-secret}}
        """
    )
    error = refused(path, {})
    assert error.message.splitlines() == [
        "penstock.yaml cannot be used as a configuration, 13 mistakes:",
        "  penstock.yaml:1: listn: unknown key; did you mean 'listen'?",
        "  penstock.yaml:2: workers: expects a whole number, at least 1, not 0",
        (
            "  penstock.yaml:4: backends.gpu-0.kind: expects one of vllm, ollama, openai, embedded, not 'vlm'; "
            "did you mean 'vllm'?"
        ),
        "  penstock.yaml:4: backends.gpu-0.ulr: unknown key; did you mean 'url'?",
        "  penstock.yaml:4: backends.gpu-0.probe: expects a duration such as 500ms, 2s, 10m or 1h, not '2x'",
        "  penstock.yaml:5: backends.gpu-1.url: expects a URL that begins with http:// or https://, not 12",
        (
            "  penstock.yaml:5: backends.gpu-1.key_env: expects the name of an environment variable, not the key itself, "
            "not what stands there"
        ),
        "  penstock.yaml:9: aliases.\"llama3.1:8b\".targets[0].backends: expects a list, for example [gpu-0], not 'gpu-0'",
        '  penstock.yaml:9: aliases."llama3.1:8b".targets[0].model: expects text; put 7 in quotes',
        (
            "  penstock.yaml:10: aliases.\"llama3.1:8b\".fallback: expects one of any, never, same-model, not 'anny'; "
            "did you mean 'any'?"
        ),
        "  penstock.yaml:11: limits: is empty; give it a value or leave the key out",
        "  penstock.yaml:12: log.requests: expects true or false, not 'no'",
        "  penstock.yaml:13: callers.me.key_sha256: expects 64 hexadecimal digits, not what stands there",
    ]
    assert error.hint


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("backends: {a: {url: 'http://x'}}\naliases: {}", "backends.a: lacks the key 'kind'"),
        ("backends: {a: {kind: vllm, url: 'http://x'}}", "lacks the key 'aliases'"),
        ("backends: {}\naliases: {}", "backends: is empty; it needs at least one entry"),
        ("backends: 3\naliases: []", "backends: expects a mapping of names to values, not 3"),
        ("limits: [1]", "limits: expects a mapping of keys to values, not a list"),
        ("limits: {connect: true}", "limits.connect: expects a duration"),
        ("limits: {connect: 0}", "limits.connect: expects a number above 0, not 0"),
        ("limits: {connect: 0s}", "limits.connect: expects a number above 0, not 0.0"),
        ("limits: {body: 1.5}", "limits.body: expects a size"),
        ("limits: {queue: true}", "limits.queue: expects a whole number, at least 0, not true"),
        ("listen: ['8000']", "listen[0]: expects an address as host:port"),
        ("listen: [8000]", "listen[0]: expects an address as host:port"),
        ("listen: []", "listen: is empty"),
        ("state: mysql://x", "state: expects sqlite:///PATH or postgresql://…"),
        ("http: hott", "http: expects one of asgi, hot, not 'hott'; did you mean 'hot'?"),
        ("tls: {cert: a.pem}", "tls: lacks the key 'key'"),
        ("ollama: {version: 'new'}", "ollama.version: expects a version such as 0.12.0, not 'new'"),
        ("cors: ['chat.example']", "cors[0]: expects an origin such as https://chat.example or *"),
    ],
)
def test_each_mistake_says_what_is_expected(written: Write, text: str, part: str) -> None:
    assert part in refused(written(text), {}).message


def test_a_key_without_its_environment_variable_is_noted(written: Write) -> None:
    text = """\
        backends: {a: {kind: openai, url: "https://api.example", key_env: EXAMPLE_KEY}, b: {kind: embedded}}
        aliases: {m: {targets: [{backends: [a], model: m}]}}
        """
    assert load(written(text), {}).notes == (
        "backend a: EXAMPLE_KEY is not set in the environment, so no key is sent to it",
        "backend b is in no alias' targets: only a canary would ask it",
    )
    assert len(load(written(text), {"EXAMPLE_KEY": "x"}).notes) == 1


def test_origins_add_up(written: Write) -> None:
    loaded = load(written("cors: ['https://a.example']\n"), {"OLLAMA_ORIGINS": "https://b.example, https://a.example"})
    assert loaded.config.cors == ("https://a.example", "https://b.example")


def test_every_leaf_has_an_origin_and_no_other() -> None:
    loaded = load(None, {"USE_VLLM": "true"})
    assert isinstance(loaded, Loaded)
    assert isinstance(loaded.config, Config)
    assert {key.split(".")[0].split("[")[0] for key in loaded.origin} == set(Config.__struct_fields__)
