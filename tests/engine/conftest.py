"""The running engines that these tests share."""

from tests.engines_fixtures import guide_embedder, guide_engine

__all__ = ["guide_embedder", "guide_engine"]
