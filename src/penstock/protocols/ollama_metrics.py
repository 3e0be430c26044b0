"""The numbers of an answer's last Ollama line, from the engine where it says them, else from our own clock.

`load_duration` is the time from a request's arrival until it went to the engine: waiting here is what loading a model is
to Ollama's clients. Counts come from the engine's usage alone. A whole answer without the engine's own timing cannot
tell reading the prompt from writing the answer: its `eval_duration` spans both, and `prompt_eval_duration` is left out.
"""

from __future__ import annotations

from penstock.protocols.dialect import Timing
from penstock.protocols.ollama_openai import Counts, Measured, Timings
from penstock.protocols.ollama_types import Metrics, Number


def of_answer(
    timing: Timing,
    now: int,
    counts: Counts | None,
    timings: Timings | None,
    measured: Measured | None,
    *,
    streamed: bool,
) -> Metrics:
    """All that is known of one answer."""
    prompt, writing = _said(timings, measured)
    sent = timing.sent or timing.arrived
    last = timing.last or now
    if writing is None:
        writing = _span(timing.first or last, last) if streamed else _span(sent, last)
    if prompt is None and streamed:
        prompt = _span(sent, timing.first or last)
    return Metrics(
        total_duration=_span(timing.arrived, now),
        load_duration=_span(timing.arrived, sent),
        prompt_eval_count=counts.prompt_tokens if counts else None,
        prompt_eval_duration=prompt,
        eval_count=counts.completion_tokens if counts else None,
        eval_duration=writing,
    )


def _said(timings: Timings | None, measured: Measured | None) -> tuple[int | None, int | None]:
    """What the engine measured itself: reading the prompt, writing the answer."""
    if timings is not None:
        return _nanoseconds(timings.prompt_ms), _nanoseconds(timings.predicted_ms)
    if measured is not None:
        return _nanoseconds(measured.time_to_first_token_ms), _nanoseconds(measured.generation_time_ms)
    return None, None


def _nanoseconds(milliseconds: Number | None) -> int | None:
    return None if milliseconds is None else max(round(milliseconds * 1_000_000), 1)


def _span(start: int, end: int) -> int:
    """At least one: Ollama leaves out a zero, and clients divide by it."""
    return max(end - start, 1)
