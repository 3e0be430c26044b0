"""One way to log: structlog over the standard library, as JSON lines or for a terminal, on stderr by way of a sink."""

from __future__ import annotations

import logging
import sys

import structlog

from penstock.config import Log
from penstock.gateway.sink import Sink


def is_json(settings: Log) -> bool:
    """`auto` is console on a terminal and JSON elsewhere."""
    return settings.format == "json" or (settings.format == "auto" and not sys.stderr.isatty())


class _ToSink(logging.Handler):
    """Hands lines to the thread that writes them: who logs never waits."""

    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self._sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        self._sink.say(self.format(record).encode("utf-8", "backslashreplace"))


def configure(settings: Log) -> Sink:
    """Set up every logger of the process, uvicorn's and asyncio's among them; where they write, and requests' lines too."""
    sink = Sink()
    sink.start()
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if is_json(settings)
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = _ToSink(sink)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer]
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.WARNING)
        logging.getLogger(name).propagate = True
    # It tells of every form that it cannot read, and so does the refusal: whoever sends many need not fill the log twice.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    return sink
