"""What a measurement comes to: frozen values, written to JSON as they are. No arithmetic here.

Times are seconds unless a name says otherwise. None is what was not told or not measured, never zero.
"""

from __future__ import annotations

import msgspec

from penstock.bench.endpoint import Endpoint
from penstock.bench.machine import Machine
from penstock.bench.speech import Wish


class Level(msgspec.Struct, frozen=True):
    """How much is asked at once: so many requests all the time, or so many arrivals a second."""

    concurrency: int | None = None
    """Closed loop: a next request as soon as one is answered. With a rate: at most so many at once."""
    rate: float | None = None
    """Open loop: arrivals a second, at random moments (Poisson)."""

    @property
    def words(self) -> str:
        """As headings have it."""
        if self.rate is None:
            return f"concurrency {self.concurrency}"
        words = "all at once" if self.rate == float("inf") else f"{self.rate:g} requests/s"
        return words if self.concurrency is None else f"{words}, at most {self.concurrency} at once"


class Spread(msgspec.Struct, frozen=True):
    """How something is distributed."""

    count: int
    mean: float
    p50: float
    p95: float
    p99: float
    highest: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One side at one level."""

    requests: int
    answered: int
    faults: dict[str, int]
    """Kind of error → how many."""
    example: str = ""
    """What the first error said."""
    backends: dict[str, int] = {}
    """Behind a Penstock: which of its engines gave how many of the answers."""
    seconds: float
    """How long its turns took together."""
    first_token: Spread | None
    between_tokens: Spread | None
    """Between the pieces of an answer as they arrived."""
    per_token: Spread | None
    """Time per output token: from the first content to the last, by the engine's own count of tokens."""
    total: Spread | None
    requests_per_minute: float
    tokens_per_second: float | None
    """Output tokens, as the engine counted them; None where an answer came without counts."""
    prompt_tokens: int | None
    completion_tokens: int | None
    late: Spread | None = None
    """Open loop: how long after its moment a request was really sent."""
    client_cpu: float = 0.0
    """Share of one core that the measuring process itself used meanwhile."""


class SpeedUp(msgspec.Struct, frozen=True, kw_only=True):
    """How many times better B is than A by one measure, and how sure that is."""

    measure: str
    ratio: float
    low: float
    high: float
    shown: bool
    """Whether the interval leaves out 1, and is from enough pairs."""
    words: str
    """The ratio with its interval, or why there is none."""


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """Both sides at one level."""

    level: Level
    pairs: int
    per_turn: int
    a: Summary
    b: Summary
    speedups: tuple[SpeedUp, ...]
    cautions: tuple[str, ...] = ()

    def speedup(self, measure: str) -> SpeedUp | None:
        """One of them, where there were answers to compare."""
        return next((one for one in self.speedups if one.measure == measure), None)


class Gauge(msgspec.Struct, frozen=True, kw_only=True):
    """The engine's own figures at one moment; None where it does not tell."""

    at: float
    """Seconds since the level began."""
    running: float | None = None
    waiting: float | None = None
    kv_use: float | None = None
    """0 to 1."""
    generated: float | None = None
    """Output tokens since the engine started."""


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint at one level of load."""

    level: Level
    summary: Summary
    gauges: tuple[Gauge, ...] = ()
    running: Spread | None = None
    waiting: Spread | None = None
    kv_use: Spread | None = None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One request, for whoever wants to count again. Seconds since the measurement began."""

    level: int
    side: str
    pair: int
    place: int
    line: int
    due: float
    sent: float
    first_token: float | None
    total: float | None
    prompt_tokens: int | None
    completion_tokens: int | None
    finish: str
    backend: str
    fault: str


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked, from where, and how it went."""

    command: str
    """To run it again."""
    began: str
    took: float
    machine: Machine
    prompts: str
    prompts_digest: str
    prompts_used: int
    prompts_left_out: tuple[str, ...]
    requests: int
    """To each side, all levels together, those before a measurement began not counted."""
    wish: Wish
    seed: int
    confidence: float
    partial: str = ""
    """Why it ended early; empty for a whole measurement."""

    @property
    def asked(self) -> str:
        """The prompts, and how often: an engine answers one that it has seen before from its cache."""
        left_out = f", {len(self.prompts_left_out)} left out" if self.prompts_left_out else ""
        often = self.requests / self.prompts_used
        again = f", each asked {often:.3g} times, so that caches helped" if often > 1 else ""
        return f"{self.prompts_used} prompts of {self.prompts}{left_out}{again}"


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """`penstock compare`."""

    form: str = "penstock-compare/1"
    conditions: Conditions
    a: Endpoint
    b: Endpoint
    levels: tuple[Compared, ...]
    rows: tuple[Row, ...] = ()


class LoadTest(msgspec.Struct, frozen=True, kw_only=True):
    """`penstock bench`."""

    form: str = "penstock-bench/1"
    conditions: Conditions
    endpoint: Endpoint
    metrics: str
    """Where the engine's own figures came from; empty where it tells none."""
    levels: tuple[Loaded, ...]
    rows: tuple[Row, ...] = ()
