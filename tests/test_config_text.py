"""A tree as a file reads back as the same tree; a tree on a screen holds no secret."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.config import Alias, Backend, Config, Limits, Shadow, Target, Tls
from penstock.config_auth import CallerEntry
from penstock.config_text import as_yaml, shown, without_password
from penstock.consistency import mistakes_of
from penstock.shape import check
from penstock.sources import load
from penstock.types import Kind
from penstock.yaml_file import parse_yaml

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True)
MODELS = st.from_regex(r"[!-~]{1,12}", fullmatch=True)
SECONDS = st.integers(1, 10**7).map(lambda ms: ms / 1000)
BYTES = st.integers(1, 2**33)
KEY = "0123456789abcdef" * 4

backends = st.one_of(
    st.builds(Backend, kind=st.just(Kind.EMBEDDED), model=MODELS, slots=st.integers(1, 300)),
    st.builds(
        Backend,
        kind=st.sampled_from([Kind.VLLM, Kind.OLLAMA, Kind.OPENAI]),
        url=st.sampled_from(["http://10.0.0.5:8000", "https://api.example/openai", "http://[fd00::1]:8000"]),
        slots=st.integers(1, 300),
        key_env=st.sampled_from(["", "KEY"]),
        probe=SECONDS,
    ),
)


@st.composite
def configs(draw: st.DrawFn) -> Config:
    engines = draw(st.dictionaries(NAMES, backends, min_size=1, max_size=3))
    targets = st.builds(Target, backends=st.tuples(st.sampled_from(list(engines))), model=MODELS)
    shadows = st.builds(
        Shadow,
        backends=st.tuples(st.sampled_from(list(engines))),
        model=MODELS,
        share=st.floats(0, 1),
        total=st.none() | SECONDS,
        keep=st.sampled_from(["digest", "text"]),
    )
    alias = st.builds(
        Alias,
        shadow=st.none() | shadows,
        targets=st.lists(targets, min_size=1, max_size=2).map(tuple),
        fallback=st.sampled_from(["any", "same-model", "never"]),
        slots=st.integers(0, 9),
        first_token=st.none() | SECONDS,
    )
    aliases = draw(st.dictionaries(MODELS, alias, min_size=1, max_size=3))
    return Config(
        backends=engines,
        aliases=aliases,
        default=draw(st.none() | st.sampled_from(list(aliases))),
        limits=draw(st.builds(Limits, connect=SECONDS, total=SECONDS, queue=st.integers(0, 9), body=BYTES)),
        callers=draw(st.dictionaries(NAMES, st.builds(CallerEntry, tenant=NAMES, key_sha256=st.just(KEY)), max_size=1)),
        tls=draw(st.none() | st.just(Tls(cert="a", key="b"))),
        workers=draw(st.integers(1, 9)),
        cors=draw(st.sampled_from([(), ("*",)])),
    )


@settings(max_examples=50)
@given(configs())
def test_a_tree_written_as_a_file_reads_back_as_itself(config: Config) -> None:
    assert mistakes_of(config) == []
    clean, mistakes = check(parse_yaml(as_yaml(config).encode(), "f").data, Config)
    assert mistakes == []
    assert msgspec.convert(clean, Config) == config


@pytest.mark.parametrize("environ", [{}, {"USE_VLLM": "true"}, {"OPENAI_BASE_URL": "http://10.0.0.1/v1"}])
def test_so_does_every_start_without_a_file(environ: dict[str, str], tmp_path: Path) -> None:
    config = load(None, environ).config
    file = tmp_path / "up.yaml"
    file.write_text(as_yaml(config), encoding="utf-8")
    assert load(file, {}).config == config


def test_what_is_shown_holds_no_secret() -> None:
    config = Config(
        backends={"a": Backend(kind=Kind.OPENAI, url="https://api.example", key_env="EXAMPLE_KEY")},
        aliases={"m": Alias(targets=(Target(backends=("a",), model="m"),))},
        callers={"me": CallerEntry(tenant="t", key_sha256=KEY)},
        state="postgresql://penstock:hunter2@db/penstock",
    )
    text = repr(shown(config))
    assert KEY not in text
    assert "01234567…" in text
    assert "hunter2" not in text
    assert "EXAMPLE_KEY" in text


def test_a_database_url_without_its_password() -> None:
    assert without_password("postgresql://u:p@h/d") == "postgresql://u:…@h/d"
    assert without_password("sqlite:///state/penstock.db") == "sqlite:///state/penstock.db"
