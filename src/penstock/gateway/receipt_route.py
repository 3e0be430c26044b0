"""`GET /receipts/{id}`: a tenant's own receipt, with the proof that it is in the log.

A request whose receipt is on its way to the log is told to ask again. Nobody learns whether another tenant has that id.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from penstock.errors import UnknownRoute
from penstock.gateway.line import Line
from penstock.types import Caller


class ReceiptRoutes:
    """What the application asks of the folder of receipts."""

    def __init__(self, line: Line) -> None:
        self._line = line

    async def one(self, request: Request) -> Response:
        """The receipt, its salt and its proof."""
        settings = self._line.config.receipts
        if settings is None:
            raise UnknownRoute("This gateway writes no receipts.", hint="`receipts` in penstock.yaml turns them on.")
        from penstock.gateway.receipt_proof import proven  # noqa: PLC0415 - a library of cryptography that most gateways never need

        caller: Caller = request.scope["penstock.caller"]
        found = await asyncio.to_thread(proven, Path(settings.folder), request.path_params["id"], caller.tenant)
        return Response(found, media_type="application/json", headers={"cache-control": "no-store"})
