"""The limits of all callers in one process: reserved before the queue, settled at the close, refilled from the state ahead of need.

A request that finds what it needs goes on at once. One that does not waits a moment, in order, until the state has said
whether there is more; then it goes on or is refused. Where the state says nothing in time it is refused as well: a limit
that cannot be asked for is not free.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING

import msgspec

from penstock.errors import LimitsAway, PenstockError
from penstock.gateway import estimate, rate_head
from penstock.gateway.meter import Meter
from penstock.gateway.phase import Phase
from penstock.gateway.quota import Book, Held, Lease, Unit
from penstock.gateway.spent import spent, told
from penstock.gateway.stock import Lack, Stock, limits
from penstock.state.row import Sum, Whose
from penstock.types import KeyLimits

if TYPE_CHECKING:
    from penstock.config import Config
    from penstock.gateway.estimate import Estimate
    from penstock.gateway.keeper import Keeper
    from penstock.gateway.metrics import Metrics
    from penstock.gateway.request import Request
    from penstock.types import Caller

WAIT = 5.0
"""Seconds a request waits for the state to say what is left."""
SLOT_WAIT = 1.0
"""Seconds it waits for a slot that another process may be about to give back."""
ROUND, SLOT_ROUND, WAITING_ROUND = 1.0, 0.25, 0.05
"""Seconds between two looks at all leases, at those of slots, and at requests that wait."""
DAY = 86400.0
KNOWN = 10_000
"""Callers remembered; of more, those that are not here now are forgotten."""
WAITING = 1000
"""Requests of one caller that may wait; more are refused at once."""
_OVER = Phase.OVER
_NOBODY = (Whose("", "", ""), Sum())
_GOLDEN = 0.6180339887498949


class _Waiting(msgspec.Struct):
    """A request that waits for the state."""

    request: Request
    book: Book
    estimate: Estimate
    since: float


class _Known(msgspec.Struct):
    """A caller as it was when its book was made."""

    limits: KeyLimits | None
    book: Book


class Quotas:
    """Of one process."""

    def __init__(self, keeper: Keeper, metrics: Metrics) -> None:
        self._keeper = keeper
        self._metrics = metrics
        self._stock = Stock(keeper, metrics, self._told)
        self.budgets: Mapping[str, KeyLimits] = {}
        """Of tenants."""
        self._known: dict[str, _Known] = {}
        self._waiting: deque[_Waiting] = deque()
        self._used: dict[str, tuple[Whose, Sum]] = {}
        self._day, self._midnight = "", 0.0
        self._looked = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._turns = count(1)

    @property
    def failures(self) -> int:
        """Times the state did not do what it was asked."""
        return self._keeper.failures

    # ── before the queue ─────────────────────────────────────────────────────────────────────────────────────────────

    def admits(self, request: Request) -> bool:
        """Reserve for a request; False where it waits (it goes on with `proceed`) or was refused."""
        book = self.book(request.caller)
        now = time.monotonic()
        asked = estimate.of(request.call, _window(request))
        if not self._waiting or not self._before(book):
            held = book.reserve(asked.total, now)
            if held is not None:
                self._hold(request, held, asked)
                return True
        for lease in book.leases:
            if lease.limit.unit is Unit.TOKENS and asked.total > lease.limit.most:
                self._refuse(request, book, lease, rate_head.too_much(lease, asked.total))
                return False
        if len(self._waiting) >= WAITING:
            self._refuse(request, book, None, _untold())
            return False
        self._waiting.append(_Waiting(request, book, asked, now))
        self._ask(now)
        self._wind(WAITING_ROUND)
        return False

    def _before(self, book: Book) -> bool:
        """Whether somebody of the same caller waits already."""
        return any(one.book is book for one in self._waiting)

    def _hold(self, request: Request, held: Held, asked: Estimate) -> None:
        held.estimate = asked
        request.quota = held
        self._stock.active.add(held.book)
        if request.call.stream and request.client is not None:
            held.meter = request.client = Meter(request.client, request.call.face)
        if self._timer is None:
            self._wind(ROUND)

    def _refuse(self, request: Request, book: Book, lease: Lease | None, error: PenstockError) -> None:
        request.quota = Held(book, (), 0)
        kind = "state" if lease is None else lease.limit.label
        self._metrics.count("penstock_quota_refused", kind)
        self._count(request.caller, 0, 0, refused=True)
        request.shed(error)

    def book(self, caller: Caller) -> Book:
        """The limits of a caller, as they are now."""
        name = caller.key_id or caller.name
        known = self._known.get(name)
        if known is not None and known.limits == caller.limits and time.time() < known.book.ends:
            return known.book
        book = self._stock.book(limits(name, caller.limits, caller.tenant, self.budgets))
        self._known[name] = _Known(caller.limits, book)
        return book

    def warm(self) -> None:
        """Somebody has limits: open the state before the first request waits for it."""
        self._keeper.warm()

    def adopt(self, budgets: Mapping[str, KeyLimits]) -> None:
        """Take the budgets of tenants, at first or anew."""
        self.budgets = budgets
        self._known.clear()

    # ── from the state ───────────────────────────────────────────────────────────────────────────────────────────────

    def _ask(self, now: float) -> None:
        """Ask for what those who wait lack."""
        needs: dict[int, tuple[Lease, int, int]] = {}
        for one in self._waiting:
            if one.request.phase is _OVER:
                continue
            for lease in one.book.leases:
                need = _need(lease, one.estimate.total)
                _, least, most = needs.get(id(lease), (lease, need, 0))
                needs[id(lease)] = (lease, least, most + need)
        lacking: list[Lack] = []
        for lease, least, most in needs.values():
            if lease.until < now:
                lease.free = 0  # lent for a time that is over
            if not lease.asked and lease.free < most:
                lacking.append((lease, max(least - lease.free, 1), most - lease.free))
        self._stock.take(lacking)

    def _told(self, denied: set[int], told: bool) -> None:  # noqa: FBT001 - one answer in two parts
        self._pump(time.monotonic(), denied, told=told)

    def _pump(self, now: float, denied: set[int], *, told: bool = True) -> None:
        """Those who wait, in order: on with who can go, away with who cannot."""
        stay: deque[_Waiting] = deque()
        before: set[int] = set()
        waiting, self._waiting = self._waiting, deque()
        for one in waiting:
            request = one.request
            if request.phase is _OVER:
                continue
            held = one.book.reserve(one.estimate.total, now) if id(one.book) not in before else None
            if held is not None:
                self._hold(request, held, one.estimate)
                request.proceed(now)
            elif not self._turned_away(one, now, denied, told=told):
                stay.append(one)
                before.add(id(one.book))
        stay.extend(self._waiting)
        self._waiting = stay
        if stay and told:
            self._ask(now)

    def _turned_away(self, one: _Waiting, now: float, denied: set[int], *, told: bool) -> bool:
        for lease, need in one.book.short(one.estimate.total, now):
            if id(lease) not in denied:
                continue
            if lease.limit.unit is Unit.SLOTS:
                if now < one.since + SLOT_WAIT:
                    continue
            elif lease.left + lease.free >= need:
                continue  # what was denied was more than this one needs
            turn = next(self._turns) * _GOLDEN % 1.0
            error = rate_head.refused(lease, need, now, time.time(), turn)
            self._refuse(one.request, one.book, lease, error)
            return True
        if not told or now > one.since + WAIT:
            self._refuse(one.request, one.book, None, _untold())
            return True
        return False

    # ── at the close ─────────────────────────────────────────────────────────────────────────────────────────────────

    def settle(self, request: Request, status: int) -> None:
        """A request of a caller that is counted is over."""
        held = request.quota
        if not request.attempts:
            if held is not None:
                held.settle(0, 0, time.monotonic())
        elif held is None:
            prompt, answer = told(request)
            self._count(request.caller, prompt, answer)
        elif held.leases:
            prompt, answer = spent(request, held, status)
            if held.settle(prompt + answer, 1, time.monotonic()):
                self._count(request.caller, prompt, answer)

    def _count(self, caller: Caller, prompt: int, answer: int, *, refused: bool = False) -> None:
        if time.time() >= self._midnight:
            self._flush()
        key = caller.key_id or caller.name
        whose, used = self._used.get(key, _NOBODY)
        if whose.tenant != caller.tenant:
            if whose is not _NOBODY[0]:
                self._flush()
            used = Sum()
            self._used[key] = (Whose(self._day, caller.tenant, key), used)
            if self._timer is None:
                self._wind(ROUND)
        if refused:
            used.refused += 1
            return
        used.requests += 1
        used.prompt_tokens += prompt
        used.completion_tokens += answer

    def _flush(self) -> None:
        """What was used until now is for the state to keep; what comes now may be another day's."""
        if self._used:
            self._keeper.use(dict(self._used.values()))
            self._used = {}
        wall = time.time()
        self._day = datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%d")
        self._midnight = wall - wall % DAY + DAY

    def lines(self, held: Held) -> bytes:
        """The `x-ratelimit-*` lines of an answer."""
        return rate_head.lines(held.book, time.monotonic(), time.time())

    # ── from time to time ────────────────────────────────────────────────────────────────────────────────────────────

    def _wind(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            if self._timer.when() <= loop.time() + seconds:
                return
            self._timer.cancel()
        self._timer = loop.call_later(seconds, self._round)

    def _round(self) -> None:
        self._timer = None
        now = time.monotonic()
        if self._waiting:
            self._pump(now, set())
        stock = self._stock
        stock.keep_slots(now)
        if now >= self._looked + ROUND:
            self._looked = now
            stock.look(now)
            self._flush()
            if len(self._known) > KNOWN:
                self._forget()
        if self._waiting:
            self._wind(WAITING_ROUND)
        elif stock.slots:
            self._wind(SLOT_ROUND)
        elif stock.active or stock.old or self._used:
            self._wind(ROUND)

    def _forget(self) -> None:
        """Callers that have not been here for a while, and what is empty of their leases."""
        self._known = {name: one for name, one in self._known.items() if one.book in self._stock.active}
        self._stock.forget()

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def close(self) -> None:
        """Everything that is not spent goes back; what was used is written."""
        for one in self._waiting:
            self._refuse(one.request, one.book, None, _untold())
        if self._timer is not None:
            self._timer.cancel()
        self._stock.close()
        self._flush()
        await asyncio.to_thread(self._keeper.close)


def budgets_of(config: Config) -> dict[str, KeyLimits]:
    """Those of tenants, as the configuration has them."""
    return {tenant: KeyLimits(**msgspec.structs.asdict(one)) for tenant, one in config.budgets.items()}


def _need(lease: Lease, tokens: int) -> int:
    return tokens if lease.limit.unit is Unit.TOKENS else 1


def _window(request: Request) -> int | None:
    """The most that any engine which may answer takes, prompt and answer together; None where one of them did not say."""
    ways = request.known.simple if request.known is not None else ()
    windows = [way.to.window for way in ways]
    return max(filter(None, windows)) if windows and all(windows) else None


def _untold() -> LimitsAway:
    return LimitsAway(
        "Checking the limits of this key: the gateway's state does not tell what is left.",
        hint="Try again in a moment.",
        retry_after=2,
    )
