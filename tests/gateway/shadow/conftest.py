"""One gateway with shadows of many sorts for each module of this folder."""

from __future__ import annotations

from tests.gateway.shadow.site import lane, shadows, site

__all__ = ["lane", "shadows", "site"]
