"""The documents' names: what each of them comes to in the tree, alone and together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.config import Config
from penstock.environment import NAMES
from penstock.errors import ConfigError
from penstock.sources import load
from penstock.types import Kind

HUB = "meta-llama/Meta-Llama-3.1-8B-Instruct"


def config(**environ: str) -> Config:
    return load(None, environ).config


def targets(tree: Config) -> list[tuple[str, str, str]]:
    """(kind, URL, model) of the default alias' targets, in order."""
    return [
        (tree.backends[name].kind.value, tree.backends[name].url, target.model)
        for target in tree.aliases[tree.default_alias].targets
        for name in target.backends
    ]


def refused(**environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(None, environ)
    return caught.value.sentence()


@pytest.mark.parametrize("yes", ["true", "1", "yes", "True", "on"])
def test_use_vllm_puts_vllm_first_and_ollama_behind_it(yes: str) -> None:
    """S1.3, S1.4, S1.21, S1.22."""
    tree = config(USE_VLLM=yes, VLLM_HOST="http://vllm-server:8000", VLLM_MODEL=HUB)
    assert targets(tree) == [
        ("vllm", "http://vllm-server:8000", HUB),
        ("ollama", "http://127.0.0.1:11434", "llama3.1:8b"),
    ]
    assert tree.aliases[HUB].also == ("llama3.1:8b", "llama3.1")
    assert tree.aliases[HUB].fallback == "any"


@pytest.mark.parametrize("no", ["false", "0", "no", "FALSE"])
def test_use_vllm_false_is_ollama_alone_under_the_same_names(no: str) -> None:
    """S1.3, S1.40, X3: the rollback; clients keep asking for what they asked for."""
    loaded = load(None, {"USE_VLLM": no, "VLLM_HOST": "http://vllm-server:8000", "VLLM_MODEL": HUB})
    assert targets(loaded.config) == [("ollama", "http://127.0.0.1:11434", "llama3.1:8b")]
    assert loaded.config.default_alias == HUB
    assert loaded.notes == (f"VLLM_HOST in the environment: not used, because USE_VLLM={no.lower()} asks for Ollama",)


def test_the_documents_defaults_fill_in() -> None:
    """S1.19, S1.11."""
    assert targets(config(USE_VLLM="true"))[0] == ("vllm", "http://vllm-server:8000", HUB)
    assert targets(config(USE_VLLM="false")) == [("ollama", "http://127.0.0.1:11434", "llama3.1:8b")]
    assert HUB in config(USE_VLLM="false").aliases["llama3.1:8b"].also


def test_the_names_of_the_third_document() -> None:
    """S3.8, S3.9, S3.10, S3.21, X12."""
    tree = config(
        LLM_PROVIDER="vllm",
        VLLM_URL="http://vllm:8000/v1",
        VLLM_MODEL="llama3.2",
        VLLM_FALLBACK="http://ollama:11434",
    )
    assert targets(tree) == [("vllm", "http://vllm:8000", "llama3.2"), ("ollama", "http://ollama:11434", "llama3.2")]
    tree = config(LLM_PROVIDER="ollama", VLLM_URL="http://vllm:8000/v1", VLLM_FALLBACK="http://ollama:11434")
    assert targets(tree) == [("ollama", "http://ollama:11434", "llama3.1:8b")]


@pytest.mark.parametrize("name", ["OPENAI_API_BASE", "OPENAI_BASE_URL"])
def test_the_openai_names_old_and_new(name: str) -> None:
    """S0.13, S0.14, W1: the key is named, never copied."""
    tree = config(**{name: "http://localhost:8001/v1", "OPENAI_API_KEY": "dummy", "VLLM_MODEL": "m"})
    assert targets(tree) == [("openai", "http://localhost:8001", "m")]
    assert tree.backends["openai"].key_env == "OPENAI_API_KEY"
    assert "dummy" not in repr(tree)


def test_a_key_goes_only_to_the_url_of_its_own_family() -> None:
    """S0.14: a real OpenAI key in a shell is not sent to an engine that VLLM_URL names."""
    tree = config(VLLM_URL="http://vllm:8000", OPENAI_API_KEY="real", VLLM_MODEL="m")
    assert tree.backends["vllm"].key_env == ""


def test_two_spellings_of_one_url_agree() -> None:
    """X2."""
    tree = config(VLLM_HOST="http://vllm:8000", VLLM_URL="http://vllm:8000/v1", OPENAI_BASE_URL="http://vllm:8000/v1/")
    assert tree.backends["vllm"].url == "http://vllm:8000"


@pytest.mark.parametrize(
    ("environ", "both"),
    [
        ({"VLLM_HOST": "http://a:1", "VLLM_URL": "http://b:1/v1"}, ("VLLM_HOST=http://a:1", "VLLM_URL=http://b:1/v1")),
        (
            {"OPENAI_API_BASE": "http://a/v1", "OPENAI_BASE_URL": "http://b/v1"},
            ("OPENAI_API_BASE=http://a/v1", "OPENAI_BASE_URL=http://b/v1"),
        ),
        ({"VLLM_FALLBACK": "http://a:1", "OLLAMA_HOST": "b"}, ("VLLM_FALLBACK=http://a:1", "OLLAMA_HOST=b")),
        ({"USE_VLLM": "true", "LLM_PROVIDER": "ollama"}, ("USE_VLLM=true", "LLM_PROVIDER=ollama")),
    ],
)
def test_two_spellings_that_disagree_are_an_error_that_names_both(
    environ: dict[str, str], both: tuple[str, str]
) -> None:
    """X2, X3."""
    said = refused(**environ)
    assert both[0] in said
    assert both[1] in said


@pytest.mark.parametrize(
    ("environ", "part"),
    [
        ({"USE_VLLM": "maybe"}, "USE_VLLM=maybe in the environment cannot be used. It expects true, 1, yes or on"),
        ({"LLM_PROVIDER": "vlm"}, "It expects vllm or ollama"),
        ({"LLM_PROVIDER": "vllm"}, "Set VLLM_URL="),
        ({"VLLM_URL": "http://vllm:8000/v1/v1"}, "could be meant in two ways"),
        ({"VLLM_HOST": "vllm:8000"}, "begins with http://"),
        ({"OLLAMA_HOST": "ftp://ollama"}, "OLLAMA_HOST=ftp://ollama"),
        (
            {"VLLM_URL": "http://v:8000", "VLLM_FALLBACK": "http://o:11434", "VLLM_MODEL": "org/unheard-of"},
            "what this model is called in Ollama",
        ),
    ],
)
def test_a_value_that_cannot_be_used(environ: dict[str, str], part: str) -> None:
    assert part in refused(**environ)


@pytest.mark.parametrize(
    "environ",
    [
        {"OLLAMA_HOST": "0.0.0.0", "PENSTOCK_LISTEN": "127.0.0.1:11434"},
        {"OLLAMA_HOST": "127.0.0.1:8000"},
        {"OPENAI_BASE_URL": "http://127.0.0.1:8000/v1"},
        {"VLLM_URL": "http://localhost:8000"},
        {"USE_VLLM": "false", "PENSTOCK_LISTEN": "127.0.0.1:11434"},
    ],
)
def test_an_engine_that_is_our_own_listener_is_refused(environ: dict[str, str]) -> None:
    assert "where this gateway itself listens" in refused(**environ)


def test_the_way_out_is_named() -> None:
    assert "env -u OPENAI_BASE_URL penstock" in refused(OPENAI_BASE_URL="http://127.0.0.1:8000/v1")


def test_the_implied_ollama_gives_way_to_our_own_listener() -> None:
    """Taking over Ollama's port leaves no Ollama there to fall back to; nobody asked for that one by name."""
    assert list(config(USE_VLLM="true", PENSTOCK_LISTEN="127.0.0.1:11434").backends) == ["vllm"]


def test_engines_are_asked_what_they_serve() -> None:
    """W31: the alias is what the engine really serves, not what a document assumed."""
    loaded = load(
        None,
        {"USE_VLLM": "true"},
        lambda kind, _: ("org/one", "meta-llama/Llama-3.2-3B-Instruct") if kind is Kind.VLLM else (),
    )
    assert list(loaded.config.aliases) == ["org/one", "meta-llama/Llama-3.2-3B-Instruct"]
    assert [len(alias.targets) for alias in loaded.config.aliases.values()] == [1, 2]
    assert any("org/one has no fallback" in note for note in loaded.notes)


def test_tags_that_ollama_itself_lists_are_taken_as_they_are() -> None:
    tree = load(
        None, {"OLLAMA_HOST": "ollama"}, lambda *_: ("hf.co/org/model:Q4_K_M", "llama3.1", "llama3.1:8b")
    ).config
    assert {name: alias.targets[0].model for name, alias in tree.aliases.items()} == {
        name: name for name in ("hf.co/org/model:Q4_K_M", "llama3.1", "llama3.1:8b")
    }


def test_a_bare_start_offers_what_is_found_ollama_first() -> None:
    """X3: nothing set means what the documents start with."""
    served = {Kind.OLLAMA: ("shared", "tiny"), Kind.VLLM: ("big", "shared")}
    asked: list[str] = []

    def ask(kind: Kind, url: str) -> tuple[str, ...]:
        asked.append(url)
        return served[kind]

    loaded = load(None, {}, ask)
    assert asked == ["http://127.0.0.1:11434", "http://127.0.0.1:8001"]
    assert list(loaded.config.aliases) == ["shared", "tiny", "big"]
    assert targets(loaded.config) == [
        ("ollama", "http://127.0.0.1:11434", "shared"),
        ("vllm", "http://127.0.0.1:8001", "shared"),
    ]
    assert loaded.origin["backends.ollama.url"] == "found at http://127.0.0.1:11434"


def test_a_bare_start_never_asks_its_own_listeners() -> None:
    asked: list[str] = []

    def ask(_: Kind, url: str) -> tuple[str, ...]:
        asked.append(url)
        return ("m",)

    load(None, {"PENSTOCK_LISTEN": "127.0.0.1:11434,[::1]:8001"}, ask)
    assert asked == []


VALUES = st.sampled_from(
    ["", "true", "false", "vllm", "ollama", "http://a:1", "http://a:1/v1", "http://b:2", "llama3.2", "o/x"]
)


@given(st.dictionaries(st.sampled_from(NAMES), VALUES))
def test_any_mixture_gives_a_tree_or_a_config_error_in_whole_sentences(environ: dict[str, str]) -> None:
    try:
        loaded = load(None, environ)
    except ConfigError as error:
        complete = bool(error.hint) and error.message[-1] != " "
    else:
        complete = loaded.config.default_alias in loaded.config.aliases
    assert complete
