"""What a request came to once it is over: as its engine counted, else as much as is known.

the engine said so             what it said
no engine did anything         nothing: refused, never asked, or every attempt failed before its first content
a stream ended early           the prompt as estimated, and one token for each event that came
a whole answer was left        all that was reserved: nobody can know how much of it was written

Pure: it reads what a request has, and changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.gateway.quota import Held
    from penstock.gateway.request import Request

_OK, _LEFT = 200, 499


def spent(request: Request, held: Held, status: int) -> tuple[int, int]:
    """Tokens of the prompt and of the answer."""
    attempt = request.attempt
    if attempt is None or not request.attempts:
        return 0, 0
    asked, reader = held.estimate, attempt.reader
    usage = reader.usage if reader is not None else None
    if usage is not None and reader is not None and reader.finished:
        return usage.prompt_tokens, usage.completion_tokens
    if status not in {_OK, _LEFT} and not attempt.begun:
        return 0, 0
    events = held.meter.events if held.meter is not None else 0
    if usage is not None:
        return usage.prompt_tokens or asked.prompt, max(usage.completion_tokens, events)
    return asked.prompt, events if request.call.stream else asked.answer


def told(request: Request) -> tuple[int, int]:
    """The same for a caller without limits, of whom no estimate was made: what the engine said."""
    reader = request.attempt.reader if request.attempt is not None else None
    usage = reader.usage if reader is not None else None
    return (0, 0) if usage is None else (usage.prompt_tokens, usage.completion_tokens)
