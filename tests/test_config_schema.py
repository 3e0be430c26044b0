"""The published schema and the reference page are what the tree says."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from penstock.config import Config
from penstock.config_schema import json_schema, rows
from penstock.config_text import as_yaml
from penstock.environment import NAMES
from penstock.sources import OWN_NAMES, load
from penstock.yaml_file import parse_yaml

ROOT = Path(__file__).parent.parent
SCHEMA = ROOT / "specs" / "penstock.schema.json"
REFERENCE = ROOT / "docs" / "reference" / "config.md"
ENVIRONMENT = ROOT / "docs" / "reference" / "environment.md"


def test_the_committed_schema_is_current() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == json_schema(), (
        "run: penstock explain-config --schema > specs/penstock.schema.json"
    )


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(json_schema()))


@pytest.mark.parametrize("environ", [{}, {"USE_VLLM": "true"}])
def test_the_schema_takes_what_the_loader_takes(environ: dict[str, str]) -> None:
    data = parse_yaml(as_yaml(load(None, environ).config).encode(), "f").data
    jsonschema.validate(data, json.loads(json_schema()))


@pytest.mark.parametrize("text", ["listn: []", "workers: 0", "limits: {connect: 2x}", "limits: {body: 1.5}", "http: x"])
def test_the_schema_refuses_what_the_loader_refuses(text: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(parse_yaml(text.encode(), "f").data, json.loads(json_schema()))


def test_every_key_has_a_row_in_the_reference() -> None:
    page = REFERENCE.read_text(encoding="utf-8")
    lacking = [
        row for row in (f"| `{r.key}` | {r.expects} | {r.default} | {r.meaning} |" for r in rows()) if row not in page
    ]
    assert not lacking, "docs/reference/config.md lacks:\n" + "\n".join(lacking)


def test_the_reference_has_no_key_that_is_gone() -> None:
    keys = {row.key for row in rows()}
    listed = [
        line.split("`")[1] for line in REFERENCE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")
    ]
    assert set(listed) == keys
    assert {key.split(".")[0] for key in keys} == set(Config.__struct_fields__)


def test_every_environment_name_is_in_the_reference() -> None:
    page = ENVIRONMENT.read_text(encoding="utf-8")
    assert [name for name in (*NAMES, *OWN_NAMES, "OLLAMA_ORIGINS") if f"`{name}`" not in page] == []
