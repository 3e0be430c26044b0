"""A running server under all checks, within one limit of time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from penstock.doctor.ask import Deadline
from penstock.doctor.checks import (
    admin_routes,
    chat_template,
    clock,
    context,
    keep_alive,
    keys,
    metric_names,
    model_name,
    path,
)
from penstock.doctor.result import Check, Result, wrong
from penstock.doctor.server import Asked, Place, meet

LIMIT: Final = 15.0
"""Seconds for one URL, whatever it does."""
AT_ONCE: Final = 8
"""Servers at the same time."""
REACH: Final = "reach"
CHECKS: Final[tuple[Check, ...]] = (
    path.CHECK,
    keys.CHECK,
    model_name.CHECK,
    chat_template.CHECK,
    context.CHECK,
    metric_names.CHECK,
    admin_routes.CHECK,
    clock.CHECK,
    keep_alive.CHECK,
)

Progress = Callable[[str], None]


def examine_all(places: Sequence[Place], progress: Progress) -> list[Result]:
    """Several servers beside each other, in the order given."""
    with ThreadPoolExecutor(max_workers=AT_ONCE) as beside:
        found = beside.map(lambda place: examine(place.url, place.asked, progress), places)
        return [result for results in found for result in results]


def examine(url: str, asked: Asked, progress: Progress, limit: float = LIMIT) -> list[Result]:
    """Every check's result, in the order of the table; one alone where nobody answers."""
    progress(f"{url}: who answers")
    server = meet(url, asked, Deadline(limit))
    if not server.kind:
        what = f"nobody answers: {server.silence}"
        mend = (
            "see that the server runs and that this is its address; `penstock doctor FILES` looks at how it is started"
        )
        return [wrong(REACH, server, what, mend, (server.seen(f"GET {server.given_path}: {server.silence}"),))]
    results: dict[str, Result] = {}
    with ThreadPoolExecutor(max_workers=1) as beside:
        waiting = {check.name: beside.submit(check.look, server) for check in CHECKS if check.alone}
        for check in CHECKS:
            if not check.alone:
                progress(f"{url}: {check.title}")
                results[check.name] = check.look(server)
        for name, running in waiting.items():
            progress(f"{url}: {name}, waiting for what the server does with an idle connection")
            results[name] = running.result()
    return [results[check.name] for check in CHECKS]
