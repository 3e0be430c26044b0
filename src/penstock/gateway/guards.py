"""The way into guardrails: what stands behind it is loaded with the first alias that has some, and most gateways have none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.config import Config

if TYPE_CHECKING:
    from penstock.gateway.request import Request
    from penstock.guardrails.rules import Rules


def prepared(config: Config) -> dict[str, Rules]:
    """The rules of all aliases that have some; `ConfigError` where they cannot be kept. Reads files."""
    if all(alias.guardrails is None for alias in config.aliases.values()):
        return {}
    from penstock.gateway import guarded  # noqa: PLC0415 - see above

    return guarded.prepared(config)


def enter(request: Request, kept: Rules) -> None:
    """Hold a request to the rules; `Refusal` where they do not let it pass."""
    from penstock.gateway import guarded  # noqa: PLC0415 - see above

    guarded.enter(request, kept)
