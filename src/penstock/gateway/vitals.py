"""How this process itself is, beside what it answers: its configuration, its log, its state, its descriptors and its loop.

Looked at in every round of the task that knows the limits; told with the figures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from penstock.errors import Overloaded
from penstock.gateway.pressure import Pressure

if TYPE_CHECKING:
    from penstock.gateway.line import Line
    from penstock.gateway.places import Places
    from penstock.gateway.reload import Reloads
    from penstock.gateway.split import Plan
    from penstock.gateway.switchboard import Switchboard
    from penstock.protocols.dialect import Call
    from penstock.protocols.table import Route
    from penstock.types import Caller

log = structlog.stdlib.get_logger("penstock.server")


class Vitals:
    """Of one worker."""

    def __init__(self, line: Line, places: Places, board: Switchboard, reloads: Reloads) -> None:
        self._line = line
        self._places = places
        self._board = board
        self._reloads = reloads
        self._pressure = Pressure()
        line.more = self.gauges

    def round(self, lag: float) -> None:
        """The loop has come round so many seconds late."""
        before = self._pressure.share
        self._pressure.felt(lag)
        if bool(before) == bool(self._pressure.share):
            return
        if before:
            log.info("the loop is in time again, nothing is refused for it")
            self._line.served = self._line.find_served
        else:
            log.error(
                "the loop is late, requests are refused", late=round(lag, 3), hint="More workers, or fewer clients."
            )
            self._line.served = self._shed

    def _shed(self, asked: Route, call: Call, caller: Caller, now: float) -> Plan:
        """In place of `find_served` while there is not enough of a processor."""
        if self._pressure.sheds():
            raise Overloaded("This gateway has more to do than it can.", hint="Try again in a moment.", retry_after=1)
        return self._line.find_served(asked, call, caller, now)

    def gauges(self) -> dict[str, list[tuple[tuple[str, ...], float]]]:
        """For the figures."""
        metrics, records = self._line.metrics, self._line.records
        metrics.total("penstock_log_lines_lost", records.out.lost)
        metrics.total("penstock_state_failures", self._places.failures + self._line.quotas.failures)
        receipts = self._line.receipts.gauges(metrics) if self._line.receipts is not None else {}
        return receipts | {
            "penstock_config_last_reload_successful": [((), float(self._reloads.well))],
            "penstock_config_last_reload_success_timestamp_seconds": [((), self._reloads.taken)],
            "penstock_state_unwritten": [((), float(records.unwritten + len(self._board.owed)))],
            "penstock_loop_lag_seconds": [((), self._pressure.lag)],
            "penstock_descriptors_limit": [((), float(self._line.room.limit))],
        }
