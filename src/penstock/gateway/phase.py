"""Where a request is on its way."""

from __future__ import annotations

from enum import Enum


class Phase(Enum):
    """Where a request is."""

    HEAD = "head"
    QUEUED = "queued"
    STARTING = "starting"
    ASKED = "asked"
    STREAMING = "streaming"
    OVER = "over"
