"""What must fit together: each rule, on a tree that is otherwise right."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from penstock.config import Alias, Backend, Config, Shadow, Target
from penstock.config_auth import Auth, CallerEntry, Jwt
from penstock.consistency import RULES, mistakes_of, notes_of, unsendable_keys
from penstock.shape import dotted
from penstock.types import Kind

VLLM = Backend(kind=Kind.VLLM, url="http://10.0.0.5:8000")
OLLAMA = Backend(kind=Kind.OLLAMA, url="http://10.0.0.6:11434")
LOCAL = Backend(kind=Kind.EMBEDDED, model="guide")
TO_VLLM = Target(backends=("gpu",), model="m")
KEY = "ab" * 32
JWT = Jwt(issuer="https://idp.example", audience="penstock", jwks="https://idp.example/keys")
RIGHT = Config(backends={"gpu": VLLM, "spare": OLLAMA}, aliases={"m": Alias(also=("n",), targets=(TO_VLLM,))})


def said(**changes: object) -> list[str]:
    return [f"{dotted(path)}: {text}" for path, text in mistakes_of(msgspec.structs.replace(RIGHT, **changes))]


def test_a_right_tree_has_no_mistakes() -> None:
    assert said() == []


def test_without_callers_only_this_machine_may_reach_us() -> None:
    """X16, W32."""
    public = "0.0.0.0:8000"
    for key in ("listen", "listen_metrics"):
        assert any("no callers are configured" in one for one in said(**{key: (public,)}))
        assert said(**{key: (public,)}, callers={"me": CallerEntry(tenant="t", key_sha256=KEY)}) == []
    for own in ("127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1"):
        assert said(listen=(own,)) == []
    assert said(listen=("gateway.example:1",))
    for auth in (Auth(keys="always"), Auth(jwt=JWT), Auth(jwt=replace(JWT, jwks="http://127.0.0.1:9/keys"))):
        assert said(listen=(public,), auth=auth) == []
    assert said(listen=(public,), auth=Auth(pepper_env="PEPPER"))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"listen": ("127.0.0.1:1", "127.0.0.1:1")}, "listen[1]: 127.0.0.1:1 is given twice"),
        ({"listen_metrics": ("127.0.0.1:8000",)}, "listen_metrics[0]: 127.0.0.1:8000 is given twice"),
        ({"listen": ("127.0.0.1:0",), "workers": 2}, "listen[0]: port 0 would give each of several workers a port"),
        ({"backends": {"gpu": VLLM, "a b": VLLM}}, 'backends."a b": a name has letters'),
        ({"backends": {"gpu": Backend(kind=Kind.VLLM)}}, "backends.gpu: lacks the key 'url', which kind vllm needs"),
        (
            {"backends": {"gpu": msgspec.structs.replace(VLLM, model="m")}},
            "backends.gpu.model: does not go with kind vllm",
        ),
        ({"backends": {"gpu": msgspec.structs.replace(LOCAL, url="http://a")}}, "backends.gpu.url: does not go with"),
        ({"backends": {"gpu": msgspec.structs.replace(LOCAL, key_env="A")}}, "backends.gpu.key_env: does not go with"),
        ({"listen": ("10.0.0.5:8000",), "callers": {"c": CallerEntry(tenant="t", key_sha256=KEY)}}, "itself listens"),
        ({"aliases": {"m": Alias(also=("m",), targets=(TO_VLLM,))}}, "'m' belongs to this alias itself"),
        (
            {"aliases": {"m": Alias(also=("n",), targets=(TO_VLLM,)), "n": Alias(targets=(TO_VLLM,))}},
            "aliases.m.also[0]: 'n' belongs to the alias n already",
        ),
        (
            {"aliases": {"m": Alias(also=("o",), targets=(TO_VLLM,)), "n": Alias(also=("o",), targets=(TO_VLLM,))}},
            "aliases.n.also[0]: 'o' belongs to the alias m already",
        ),
        ({"aliases": {"two words": Alias(targets=(TO_VLLM,))}}, "a model name has no spaces"),
        (
            {"aliases": {"m": Alias(also=("café",), targets=(TO_VLLM,))}},
            "aliases.m.also[0]: a model name has no spaces",
        ),
        (
            {"aliases": {"m": Alias(targets=(Target(backends=("gpv",), model="m"),))}},
            "aliases.m.targets[0].backends[0]: 'gpv' is no backend; did you mean 'gpu'?",
        ),
        ({"aliases": {"m": Alias(targets=(Target(backends=("gpu", "gpu"), model="m"),))}}, "'gpu' is given twice"),
        (
            {"aliases": {"m": Alias(targets=(Target(backends=("gpu", "spare"), model="m"),))}},
            "mixes the kinds ollama and vllm",
        ),
        ({"default": "n"}, "default: 'n' is no alias; known here: m"),
        (
            {
                "callers": {
                    "a": CallerEntry(tenant="t", key_sha256=KEY),
                    "b": CallerEntry(tenant="t", key_sha256=KEY.upper()),
                }
            },
            "callers.b.key_sha256: is the key of a as well",
        ),
        ({"callers": {"a": CallerEntry(tenant="t", key_sha256=KEY, scopes=("alias:x",))}}, "'x' is no alias"),
        (
            {"callers": {"a": CallerEntry(tenant="t", key_sha256=KEY, scopes=("root",))}},
            "expects *, alias:NAME, route:",
        ),
        ({"callers": {"a": CallerEntry(tenant="t", key_sha256=KEY, scopes=("route:walk",))}}, "not 'route:walk'"),
        ({"callers": {"a": CallerEntry(tenant="t")}}, "lacks the key 'key_sha256', or 'certificate'"),
        ({"callers": {"a": CallerEntry(tenant="t", certificate="CN:ann")}}, "tls.client_ca says who issues them"),
        ({"auth": Auth(jwt=replace(JWT, jwks="http://idp.example/keys"))}, "answered by anybody on the way"),
        ({"auth": Auth(jwt=replace(JWT, jwks="ftp://idp.example/keys"))}, "expects https://HOST/PATH"),
        ({"auth": Auth(jwt=replace(JWT, jwks="file:///etc/passwd"))}, "expects https://HOST/PATH"),
        ({"auth": Auth(jwt=replace(JWT, jwks="https://user:pw@idp.example/"))}, "expects https://HOST/PATH"),
        ({"auth": Auth(jwt=replace(JWT, jwks="http://169.254.169.254/latest"))}, "answered by anybody on the way"),
        ({"auth": Auth(jwt=replace(JWT, jwks="https://idp:x/"))}, "is no URL"),
        ({"cors": ("https://chat.example/path",)}, "cors[0]: expects an origin"),
    ],
)
def test_each_rule_says_where_and_what(changes: dict[str, object], text: str) -> None:
    """X12, X16."""
    assert any(text in one for one in said(**changes)), said(**changes)


def shadowed(*backends: str, model: str = "m") -> Config:
    shadow = Shadow(backends=backends, model=model, share=0.1)
    return msgspec.structs.replace(RIGHT, aliases={"m": Alias(targets=(TO_VLLM,), shadow=shadow)})


def test_a_shadow_leads_somewhere() -> None:
    """S3.25."""

    def mistakes(config: Config) -> list[str]:
        return [f"{dotted(path)}: {text}" for path, text in mistakes_of(config)]

    assert mistakes(shadowed("spare")) == []
    assert mistakes(shadowed("spar")) == ["aliases.m.shadow.backends[0]: 'spar' is no backend; did you mean 'spare'?"]
    assert mistakes(shadowed("gpu", "gpu")) == ["aliases.m.shadow.backends[1]: 'gpu' is given twice"]
    assert mistakes(shadowed("gpu", "spare")) == [
        "aliases.m.shadow.backends: mixes the kinds ollama and vllm; a shadow's backends are of one kind"
    ]
    (told,) = mistakes(shadowed("spare", model="m\n"))
    assert told.startswith("aliases.m.shadow.model: 'm\\n' has control characters")


def test_notes_on_shadows() -> None:
    assert list(notes_of(shadowed("spare"), {})) == []
    assert list(notes_of(shadowed("gpu", model="other"), {})) == [
        "backend spare is in no alias' targets: only a canary would ask it"
    ]
    assert any("compared with themselves" in note for note in notes_of(shadowed("gpu"), {}))


def test_no_name_breaks_out_of_a_header() -> None:
    """Backend, alias and model names stand in response heads: what is wrong is told as it is, and where."""
    to = Target(backends=("gpu",), model="m\r\nx-admin: yes")
    (told,) = said(aliases={"m": Alias(targets=(TO_VLLM, to))})
    assert told.startswith(r"aliases.m.targets[1].model: 'm\r\nx-admin: yes' has control characters, or spaces around")
    assert [one.partition(":")[0] for one in said(aliases={"m": Alias(targets=(TO_VLLM,), also=("n\n",))})] == [
        "aliases.m.also[0]"
    ]
    for wrong in ("gpu\n", "gpu\r\nx: y", "gpu\0"):
        (told,) = said(backends={"gpu": VLLM, wrong: VLLM})
        assert repr(wrong) in told
        assert told.isprintable()
    for model in ("org/Model 7B Instruct", "modèle", "/models/a b.gguf"):
        assert said(aliases={"m": Alias(targets=(Target(backends=("gpu",), model=model),))}) == []


def test_a_key_that_cannot_stand_in_a_header_is_refused_without_being_shown() -> None:
    config = msgspec.structs.replace(RIGHT, backends={"gpu": msgspec.structs.replace(VLLM, key_env="KEY")})
    (mistake,) = unsendable_keys(config, {"KEY": "s3cret\n"})
    assert dotted(mistake.path) == "backends.gpu.key_env"
    assert "KEY has spaces, line ends" in mistake.text
    assert "s3cret" not in mistake.text
    assert not list(unsendable_keys(config, {"KEY": "sk-abc_1.=+/"}))
    assert not list(unsendable_keys(config, {}))


def test_origins_as_ollama_writes_them() -> None:
    origins = ("*", "https://chat.example", "http://127.0.0.1:*", "chrome-extension://*", "app://obsidian.md")
    assert said(cors=origins) == []


def test_every_rule_has_a_reason() -> None:
    assert all(rule.__doc__ for rule in RULES)
