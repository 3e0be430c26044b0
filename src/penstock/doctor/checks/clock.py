"""Whether the server's clock and ours agree: logs, signatures and expiry dates go by them."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Final

from penstock.doctor.result import Check, Result, ok, unknown, wrong
from penstock.doctor.server import Server

NAME = "clock"
MOST: Final = 5.0
"""Seconds of difference that are nobody's harm: the header has whole seconds and servers keep it for one."""


def look(server: Server) -> Result:
    tried = f"the Date header of GET {server.given_path}"
    answer = server.given
    date = answer.headers.get("date", "") if answer else ""
    if answer is None or not date:
        return unknown(NAME, server, "its answers carry no Date", tried)
    try:
        theirs = parsedate_to_datetime(date).timestamp()
    except ValueError:
        return unknown(NAME, server, f"its Date cannot be read: {date}", tried)
    # what it says lies between our two readings, if the clocks agree; beyond them is the difference
    off = min(0.0, theirs + 1 - answer.asked_at) or max(0.0, theirs - answer.answered_at)
    if abs(off) <= MOST:
        return ok(NAME, server, "its clock and this machine's agree", tried)
    ahead = "ahead of" if off > 0 else "behind"
    return wrong(
        NAME,
        server,
        f"its clock is {abs(off):.0f} s {ahead} this machine's: logs cannot be laid side by side, and dates of keys and certificates go wrong",
        "keep both machines on time (chrony, systemd-timesyncd); see which of the two is off with `date -u`",
        (server.seen(f"Date: {date}"),),
        tried,
    )


CHECK = Check(
    name=NAME,
    rows="–",
    title="clock skew",
    asks="the `Date` header of an answer that another check got",
    look=look,
)
