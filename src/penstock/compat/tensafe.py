"""The names of TenSafe's vLLM backend (S2.21): `setup_observability`, and a server that then exports by itself.

from tensorguard.observability import setup_observability   becomes   from penstock.compat.tensafe import setup_observability
"""

from __future__ import annotations

import os

import msgspec

from penstock.config_otel import Otel
from penstock.environment_otel import ENDPOINT, SERVICE
from penstock.errors import ConfigError
from penstock.gateway.exporting import check

__all__ = ["setup_observability"]


def setup_observability(service_name: str = "tensafe-vllm", otlp_endpoint: str = "http://otel-collector:4317") -> None:
    """Export traces and figures of every gateway that this process, or one it starts, runs from now on.

    Sets OpenTelemetry's own names in the environment; `otel` in a penstock.yaml goes before them. Raises `ConfigError` where the
    endpoint is no http(s) URL, or the extra `penstock[otel]` is not installed.
    """
    try:
        settings = msgspec.convert({"endpoint": otlp_endpoint, "service_name": service_name}, Otel)
    except msgspec.ValidationError as error:
        msg = f"Setting up observability with {otlp_endpoint!r}: {error}."
        raise ConfigError(
            msg, hint="Give the collector as http://HOST:4317 (gRPC) or http://HOST:4318 (HTTP)."
        ) from None
    check(settings)
    os.environ[SERVICE] = service_name
    os.environ[ENDPOINT] = otlp_endpoint
