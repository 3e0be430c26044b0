"""Where telemetry is exported to: the part of the configuration that is called `otel`. Only nouns; nothing here may do I/O."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from penstock.config_noun import Noun, Seconds, Share


class Otel(Noun, frozen=True, kw_only=True):
    """Where traces and figures are exported to; needs the extra `penstock[otel]`."""

    endpoint: Annotated[
        str,
        Meta(
            pattern="^https?://[^/@?#]+(/[^?#]*)?$",
            description="The collector, `http://HOST:4318` (HTTP) or `http://HOST:4317` (gRPC); https as well.",
            extra={"expected": "a URL such as http://otel-collector:4317, without a user, ? or #"},
        ),
    ]
    protocol: Annotated[
        Literal["auto", "http", "grpc"],
        Meta(description="`auto` is gRPC on port 4317 and HTTP with protobuf elsewhere."),
    ] = "auto"
    service_name: Annotated[str, Meta(min_length=1, description="What the exported data says it is of.")] = "penstock"
    sample: Annotated[
        Share,
        Meta(description="Of requests without a `traceparent`, how many are traced; one that has it decides itself."),
    ] = 1.0
    figures: Annotated[Seconds, Meta(description="Time between two exports of figures.")] = 60.0
    headers_env: Annotated[
        str,
        Meta(
            pattern="^([A-Za-z_][A-Za-z0-9_]*)?$",
            description="Name of the environment variable that holds headers for the collector, `NAME=VALUE,…`.",
            extra={"secret": True, "expected": "the name of an environment variable, not the headers themselves"},
        ),
    ] = ""
    ca: Annotated[
        str, Meta(description="Path of the authorities' certificates to trust instead of the system's, PEM.")
    ] = ""
