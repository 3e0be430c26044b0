"""The state in both kinds of database."""

from __future__ import annotations

from tests.fakes.postgres import postgres, state_url

__all__ = ["postgres", "state_url"]
