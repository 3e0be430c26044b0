"""OpenTelemetry's own names in the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.config_otel import Otel
from penstock.environment_otel import NAMES
from penstock.errors import ConfigError
from penstock.sources import load

ENVIRONMENT = Path(__file__).parent.parent / "docs" / "reference" / "environment.md"
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel-collector:4317"}


def test_every_name_becomes_a_value_with_its_origin() -> None:
    loaded = load(
        None,
        {
            **ENDPOINT,
            "OTEL_SERVICE_NAME": "tensafe-vllm",
            "OTEL_EXPORTER_OTLP_HEADERS": "a=b",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_CERTIFICATE": "/etc/ca.pem",
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": "0.25",
            "OTEL_METRIC_EXPORT_INTERVAL": "5000",
        },
    )
    assert loaded.config.otel == Otel(
        endpoint="http://otel-collector:4317",
        protocol="http",
        service_name="tensafe-vllm",
        sample=0.25,
        figures=5.0,
        headers_env="OTEL_EXPORTER_OTLP_HEADERS",
        ca="/etc/ca.pem",
    )
    assert loaded.origin["otel.sample"] == "environment OTEL_TRACES_SAMPLER"
    assert loaded.origin["otel.endpoint"] == "environment OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.mark.parametrize("environ", [{}, {"OTEL_SERVICE_NAME": "x"}, {**ENDPOINT, "OTEL_SDK_DISABLED": "true"}])
def test_without_an_endpoint_nothing_is_exported(environ: dict[str, str]) -> None:
    assert load(None, environ).config.otel is None


def test_the_file_goes_before_them_and_says_so(tmp_path: Path) -> None:
    file = tmp_path / "penstock.yaml"
    file.write_text("otel: {endpoint: 'http://here:4318'}\n", encoding="utf-8")
    loaded = load(file, ENDPOINT)
    assert loaded.config.otel == Otel(endpoint="http://here:4318")
    assert any("OTEL_EXPORTER_OTLP_ENDPOINT in the environment: not used" in note for note in loaded.notes)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "otel-collector:4317"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:secret@host"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "soon"),
    ],
)
def test_what_cannot_be_used_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        load(None, {**ENDPOINT, name: value})


def test_every_name_is_in_the_reference() -> None:
    page = ENVIRONMENT.read_text(encoding="utf-8")
    assert [name for name in NAMES if f"`{name}`" not in page] == []
