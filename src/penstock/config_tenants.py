"""What is the tenants' own: nouns of the configuration, in a file of their own. Nothing here does anything."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from penstock.config_noun import AtLeastOne, Noun


class Tenants(Noun, frozen=True, kw_only=True):
    """What keeps tenants apart, and how many of them are told by name."""

    cache_salts: Annotated[
        bool,
        Meta(description="Whether vLLM is given a salt for each tenant, so that none sees another's prefix cache."),
    ] = True
    named: Annotated[
        AtLeastOne, Meta(description="Tenants that have a label of their own in the metrics; all others are `other`.")
    ] = 50
