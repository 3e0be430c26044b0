"""Samples to figures: percentiles, rates, summaries. Pure arithmetic.

Percentiles are interpolated linearly between the two nearest values, as numpy and vLLM's own benchmark do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final

from penstock.bench.answer import Sample
from penstock.bench.results import Spread, Summary

SECOND: Final = 1e9
"""Nanoseconds."""


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` of the sorted values lie; there has to be one."""
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def spread(values: Iterable[float]) -> Spread | None:
    """None where there are no values."""
    ordered = sorted(values)
    if not ordered:
        return None
    return Spread(
        count=len(ordered),
        mean=sum(ordered) / len(ordered),
        p50=quantile(ordered, 0.5),
        p95=quantile(ordered, 0.95),
        p99=quantile(ordered, 0.99),
        highest=ordered[-1],
    )


def first_token(sample: Sample) -> float | None:
    """Seconds from sending to the first content; None for an answer without content."""
    return (sample.first - sample.sent) / SECOND if sample.first else None


def total(sample: Sample) -> float:
    """Seconds from sending to the end of the answer."""
    return (sample.ended - sample.sent) / SECOND


def per_token(sample: Sample) -> float | None:
    """Seconds per token after the first; None where that cannot be known."""
    if not sample.first or sample.completion_tokens is None or sample.completion_tokens < 2:
        return None
    return (sample.last - sample.first) / SECOND / (sample.completion_tokens - 1)


def summary(samples: Sequence[Sample], seconds: float, *, client_cpu: float = 0.0, opened: bool = False) -> Summary:
    """All of one side at one level. Failed requests count as errors and nowhere else."""
    whole = [sample for sample in samples if not sample.fault]
    failed = [sample for sample in samples if sample.fault]
    prompt, completion = (
        _counted([one.prompt_tokens for one in whole]),
        _counted([one.completion_tokens for one in whole]),
    )
    return Summary(
        requests=len(samples),
        answered=len(whole),
        faults=dict(Counter(sample.fault for sample in failed).most_common()),
        example=failed[0].message if failed else "",
        backends=dict(Counter(sample.backend for sample in whole if sample.backend).most_common()),
        seconds=seconds,
        first_token=spread(value for sample in whole if (value := first_token(sample)) is not None),
        between_tokens=spread(gap / SECOND for gap in chain.from_iterable(sample.gaps for sample in whole)),
        per_token=spread(value for sample in whole if (value := per_token(sample)) is not None),
        total=spread(total(sample) for sample in whole),
        requests_per_minute=60 * len(whole) / seconds if seconds else 0.0,
        tokens_per_second=completion / seconds if completion is not None and seconds else None,
        prompt_tokens=prompt,
        completion_tokens=completion,
        late=spread((sample.sent - sample.due) / SECOND for sample in samples if sample.sent) if opened else None,
        client_cpu=client_cpu,
    )


def _counted(counts: list[int | None]) -> int | None:
    """Their sum, if every answer told its count."""
    told = [count for count in counts if count is not None]
    return sum(told) if told and len(told) == len(counts) else None
