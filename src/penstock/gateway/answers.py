"""Whose a stored answer is, and which backend has it: remembered here, kept in the state for other workers and later starts.

An answer belongs to the tenant that made it; for any other it does not exist, whoever asks and wherever it was made.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from functools import partial

import structlog

from penstock.errors import ConfigError, PenstockError, Unavailable, UnknownRoute
from penstock.gateway.record import Records

log = structlog.stdlib.get_logger("penstock.state")

REMEMBERED = 10_000
"""Answers in memory; older ones are looked up."""
LOOK = 6.0
"""Seconds for the state to say whose an answer is; its database gives up a little sooner."""


class Answers:
    """The stored answers that this process knows of."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._places: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._looking: set[asyncio.Task[PenstockError | None]] = set()

    def put(self, tenant: str, answer: str, backend: str, then: Callable[[], object]) -> bool:
        """An answer was made; `then` is called, from another thread, once the state has it or could not take it.

        An id that another tenant has already stays that tenant's, whatever an engine calls its own: False, and nobody calls.
        """
        return self._remember(answer, tenant, backend) and self._records.stuck(answer, tenant, backend, then)

    def knows(self, answer: str) -> bool:
        """Whether it is remembered here."""
        return answer in self._places

    def made_by(self, tenant: str, answer: str) -> str | None:
        """The backend that has it, as far as is remembered here; another tenant's answer does not exist."""
        owner, backend = self._places.get(answer, (tenant, None))
        if owner != tenant:
            raise unknown_answer(answer)
        return backend

    async def find(self, tenant: str, answer: str) -> str | None:
        """The backend that has it, by memory or by the state."""
        if not self.knows(answer) and (trouble := await self._look(answer)) is not None:
            raise trouble
        return self.made_by(tenant, answer)

    def look_up(self, answer: str, then: Callable[[PenstockError | None], None]) -> None:
        """Ask the state, and call back with what kept it from an answer."""
        looking = asyncio.get_running_loop().create_task(self._look(answer), name="whose answer")
        self._looking.add(looking)
        looking.add_done_callback(partial(self._looked, then))

    def _looked(self, then: Callable[[PenstockError | None], None], task: asyncio.Task[PenstockError | None]) -> None:
        self._looking.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            then(task.result())
        else:
            log.critical("looking for an answer: an error of the gateway itself", exc_info=error)
            then(_untold("the answer before this one"))

    async def _look(self, answer: str) -> PenstockError | None:
        try:
            async with asyncio.timeout(LOOK):
                found = await asyncio.to_thread(self._records.where, answer)
        except (ConfigError, TimeoutError) as error:
            log.warning("the state does not say whose an answer is", answer=answer[:100], problem=str(error))
            return _untold(f"the answer {answer[:100]!r}")
        if found is not None:
            self._remember(answer, *found)
        return None

    def _remember(self, answer: str, tenant: str, backend: str) -> bool:
        if self._places.get(answer, (tenant,))[0] != tenant:
            return False
        self._places[answer] = (tenant, backend)
        while len(self._places) > REMEMBERED:
            self._places.popitem(last=False)
        return True


def _untold(what: str) -> Unavailable:
    return Unavailable(f"Looking for {what}: the gateway's state does not tell.", retry_after=2)


def unknown_answer(answer: str) -> UnknownRoute:
    """The refusal for an answer that was not made here, or not for this tenant."""
    message = f"No answer {answer[:100]!r} was made through this gateway."
    return UnknownRoute(message, hint="Only answers of /v1/responses that the engine stores can be asked for.")
