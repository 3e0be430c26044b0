"""Samples and results made by hand, so that every figure can be checked on paper."""

from __future__ import annotations

from array import array

from penstock.bench.answer import Sample
from penstock.bench.bootstrap import Pair, Turn, speedups
from penstock.bench.endpoint import Endpoint
from penstock.bench.figures import summary
from penstock.bench.machine import Machine
from penstock.bench.results import Compared, Comparison, Conditions, Gauge, Level, Loaded, LoadTest, Spread
from penstock.bench.speech import Wish
from penstock.types import Wire


def sample(place: int, seconds: float, *, tokens: int | None = 11, fault: str = "") -> Sample:
    """An answer whose first token came after a tenth of its time."""
    whole = int(seconds * 1e9)
    first = whole // 10
    return Sample(
        place=place,
        prompt=1,
        due=1_000,
        sent=1_000,
        first=0 if fault else 1_000 + first,
        last=0 if fault else 1_000 + whole,
        ended=1_000 + whole,
        gaps=array("q", [] if fault else [(whole - first) // 10] * 10),
        prompt_tokens=None if fault else 5,
        completion_tokens=None if fault else tokens,
        finish="" if fault else "stop",
        fault=fault,
        message="said so" if fault else "",
    )


def pairs(a: list[float], b: list[float]) -> list[Pair]:
    """One request in a turn."""
    return [
        (Turn((sample(place, one),), one), Turn((sample(place, other),), other))
        for place, (one, other) in enumerate(zip(a, b, strict=True))
    ]


def compared(a: list[float], b: list[float], *, confidence: float = 0.95) -> Compared:
    """A level at concurrency 1."""
    made = pairs(a, b)
    return Compared(
        level=Level(1),
        pairs=len(made),
        per_turn=1,
        a=summary([one.samples[0] for one, _ in made], sum(a)),
        b=summary([other.samples[0] for _, other in made], sum(b)),
        speedups=speedups(made, confidence, 0),
    )


CONDITIONS = Conditions(
    command="penstock compare http://a http://b --prompts p.txt",
    began="2026-11-21 12:00 UTC",
    took=12.0,
    machine=Machine(
        processor="A Processor", cores=2, memory=8 * 2**30, system="Linux 6", python="3.11", penstock="0", load=0.5
    ),
    prompts="p.txt",
    prompts_digest="sha256:00",
    prompts_used=4,
    prompts_left_out=(),
    requests=20,
    wish=Wish(),
    seed=0,
    confidence=0.95,
)


def comparison(*levels: Compared, conditions: Conditions = CONDITIONS, name: str = "vLLM") -> Comparison:
    """Ollama and another."""
    return Comparison(
        conditions=conditions,
        a=Endpoint(name="Ollama", url="http://a", wire=Wire.OLLAMA, model="llama3.1:8b"),
        b=Endpoint(name=name, url="http://b", wire=Wire.OPENAI, model="org/M", engine="vLLM 1.0"),
        levels=levels,
    )


def load_test(*tokens: int) -> LoadTest:
    """A level for each number of tokens an answer, with a queue and a cache that grow."""
    levels = []
    for number, count in enumerate(tokens, 1):
        gauges = tuple(
            Gauge(at=float(at), running=number, waiting=at, kv_use=0.1 * number, generated=100 * at) for at in range(5)
        )
        flat = Spread(count=5, mean=1, p50=1, p95=1, p99=1, highest=number)
        levels.append(
            Loaded(
                level=Level(number),
                summary=summary([sample(place, 1.0 + place / 10, tokens=count) for place in range(9)], 5.0),
                gauges=gauges,
                running=flat,
                waiting=flat,
                kv_use=Spread(count=5, mean=0.1, p50=0.1, p95=0.1, p99=0.1, highest=0.1 * number),
            )
        )
    endpoint = Endpoint(name="vLLM", url="http://b", wire=Wire.OPENAI, model="org/M")
    return LoadTest(conditions=CONDITIONS, endpoint=endpoint, metrics="http://b/metrics", levels=tuple(levels))
