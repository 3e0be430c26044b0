"""OpenTelemetry's own names in the environment, mapped onto `otel` of the tree. They count where the file has no `otel`. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.errors import ConfigError
from penstock.shape import Plain

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
SERVICE = "OTEL_SERVICE_NAME"
HEADERS = "OTEL_EXPORTER_OTLP_HEADERS"
PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL"
CERTIFICATE = "OTEL_EXPORTER_OTLP_CERTIFICATE"
SAMPLER, SAMPLER_ARGUMENT = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
INTERVAL = "OTEL_METRIC_EXPORT_INTERVAL"
DISABLED = "OTEL_SDK_DISABLED"
NAMES = (ENDPOINT, SERVICE, HEADERS, PROTOCOL, CERTIFICATE, SAMPLER, SAMPLER_ARGUMENT, INTERVAL, DISABLED)

_PROTOCOLS = {"grpc": "grpc", "http/protobuf": "http"}
_SAMPLERS = {
    "always_on": 1.0,
    "parentbased_always_on": 1.0,
    "always_off": 0.0,
    "parentbased_always_off": 0.0,
}
_RATIO = ("traceidratio", "parentbased_traceidratio")


def exported(environ: Mapping[str, str]) -> tuple[dict[str, Plain], dict[str, str]] | None:
    """`otel` as a file would give it, and the name that gave each of its keys; None where nothing is to be exported."""
    given = {name: environ.get(name, "").strip() for name in NAMES}
    if not given[ENDPOINT] or given[DISABLED].lower() == "true":
        return None
    values: dict[str, Plain] = {"endpoint": given[ENDPOINT]}
    names = {"endpoint": ENDPOINT}
    if given[SERVICE]:
        values["service_name"], names["service_name"] = given[SERVICE], SERVICE
    if given[HEADERS]:
        values["headers_env"], names["headers_env"] = HEADERS, HEADERS
    if given[CERTIFICATE]:
        values["ca"], names["ca"] = given[CERTIFICATE], CERTIFICATE
    if given[PROTOCOL]:
        values["protocol"], names["protocol"] = _known(PROTOCOL, given[PROTOCOL], _PROTOCOLS), PROTOCOL
    if given[INTERVAL]:
        values["figures"], names["figures"] = _number(INTERVAL, given[INTERVAL]) / 1000, INTERVAL
    if given[SAMPLER]:
        values["sample"], names["sample"] = _share(given[SAMPLER], given[SAMPLER_ARGUMENT]), SAMPLER
    return values, names


def _share(sampler: str, argument: str) -> float:
    if sampler in _RATIO:
        return _number(SAMPLER_ARGUMENT, argument) if argument else 1.0
    if sampler not in _SAMPLERS:
        raise _wrong(SAMPLER, sampler, [*_SAMPLERS, *_RATIO])
    return _SAMPLERS[sampler]


def _known(name: str, value: str, words: Mapping[str, str]) -> str:
    if value not in words:
        raise _wrong(name, value, list(words))
    return words[value]


def _number(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise _wrong(name, value, ["a number"]) from None


def _wrong(name: str, value: str, expected: list[str]) -> ConfigError:
    words = f"It expects {' or '.join(expected)}; OTEL_SDK_DISABLED=true exports nothing."
    return ConfigError(f"{name}={value} in the environment cannot be used.", hint=words)
