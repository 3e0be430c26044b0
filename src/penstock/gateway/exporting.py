"""Whether anything is exported: the one place that imports what the extra `penstock[otel]` installs, and only where it is wanted."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from penstock.config_otel import Otel
from penstock.errors import ConfigError
from penstock.gateway.traces import traceparent

if TYPE_CHECKING:
    from penstock.gateway.line import Line


def check(settings: Otel | None) -> None:
    """A `ConfigError` where telemetry is wanted and what it takes is not installed."""
    if settings is None:
        return
    try:
        from penstock.gateway.otel import telemetry  # noqa: F401, PLC0415 - the extra may not be installed
    except ImportError as missing:
        msg = f"Exporting telemetry to {settings.endpoint}: {missing.name or 'a package'} is not installed."
        raise ConfigError(
            msg, hint="pip install 'penstock[otel]', or leave `otel` and OTEL_EXPORTER_OTLP_ENDPOINT out."
        ) from None


async def exporting(settings: Otel | None, line: Line, worker: int, life: AsyncExitStack) -> None:
    """Begin to export, until `life` ends."""
    if settings is None:
        return
    from penstock.gateway.otel.telemetry import Telemetry  # noqa: PLC0415 - the extra may not be installed

    exporter = Telemetry(settings, line, worker)
    exporter.start()
    life.push_async_callback(exporter.stop)
    line.traces = exporter.traces
    line.untraced = traceparent(sampled=False)
    before = line.more
    line.more = lambda: {**before(), **exporter.gauges()}
