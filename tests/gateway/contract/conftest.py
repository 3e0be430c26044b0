"""The shared site, over both data planes."""

from __future__ import annotations

from tests.gateway.site import lane, running, site

__all__ = ["lane", "running", "site"]
