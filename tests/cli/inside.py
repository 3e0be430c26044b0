"""A verb called in this process, in a thread beside the engines it asks: for tests that are about what it does and not about its process."""

from __future__ import annotations

import asyncio

from tests.cli.console import Done
from typer.testing import CliRunner

from penstock.cli import FAILED, UNUSABLE, app
from penstock.errors import ConfigError, PenstockError


async def inside(*arguments: str) -> Done:
    """What it prints and how it ends, errors as `penstock` would print them."""
    result = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    if isinstance(result.exception, PenstockError):
        code = UNUSABLE if isinstance(result.exception, ConfigError) else FAILED
        return Done(code, result.stdout, result.stderr + result.exception.sentence())
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(result.exit_code, result.stdout, result.stderr)
