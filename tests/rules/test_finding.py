"""No secret leaves a line that is shown as evidence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.rules.finding import LONGEST, MASK, evidence, masked

SECRETS = st.text(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/=.~_-", min_size=8, max_size=60
).filter(lambda text: text[0].isalpha() and text.lower() not in {"username", "password"})
FORMS = [
    "OPENAI_API_KEY={}",
    "export HF_TOKEN='{}'",
    "  VLLM_API_KEY: {}",
    '- "HUGGING_FACE_HUB_TOKEN={}"',
    "- name: x, api_key: {}, other: 1",
    "vllm serve m --api-key {} --port 1",
    "vllm serve m --api-key={}",
    'command: ["--api-key", "{}"]',
    "client = OpenAI(api_key='{}')",
    "curl -H 'Authorization: Bearer {}' http://x",
    "postgresql://user:{}@db/x",
    '{{"password": "{}"}}',
    "apiKey: {}",
    "db_password = {}",
    "docker run -e POSTGRES_PASSWORD={} image",
]


@pytest.mark.parametrize("form", FORMS)
@given(secret=SECRETS)
def test_a_secret_is_masked(form: str, secret: str) -> None:
    shown = masked(form.format(secret))
    assert secret not in shown
    assert MASK in shown


@pytest.mark.parametrize("secret", ["sk-abcdefgh12345678", "hf_abcdefghijklmnop", "ghp_abcdefghijklmnop12"])
def test_a_token_is_masked_wherever_it_stands(secret: str) -> None:
    assert secret not in masked(f"echo {secret} | login")


@pytest.mark.parametrize(
    "line",
    [
        "OPENAI_API_KEY=$KEY",
        "--api-key ${VLLM_KEY}",
        "max_tokens=512",
        "tokenizer: org/model",
        "--max-model-len 8192",
        "key_env: ENGINE_KEY",
        "image: vllm/vllm-openai:v0.33.0",
        "curl http://localhost:8000/v1/models",
        "VLLM_MODEL=llama3.2:latest",
        "The key to this is patience",
        "monkey: business",
    ],
)
def test_what_is_no_secret_is_shown(line: str) -> None:
    assert masked(line) == line


def test_several_keys_behind_one_option() -> None:
    assert masked("--api-key first-one second-one --port 1") == f"--api-key {MASK} --port 1"


@given(text=st.text(max_size=300))
def test_any_text_can_be_evidence(text: str) -> None:
    found = evidence("f", 1, text)
    assert "\n" not in found.text
    assert len(found.shown) <= LONGEST


def test_a_place_is_as_editors_take_it() -> None:
    assert evidence("a/b.yaml", 12, "x").place == "a/b.yaml:12"
    assert evidence("http://h", 0, "x").place == "http://h"
