"""The error tree. One class is one HTTP status and one stable code.

    PenstockError
    ├── ConfigError                 a configuration that cannot be used        (no status; the process does not start)
    ├── BadReceipt, BadNote, BadLog what should prove something does not        (no status; the tools of an auditor)
    ├── Refusal                     the caller's request is not carried out
    │   ├── BadRequest        400   malformed or contradictory
    │   ├── Unauthorized      401   no caller behind this key
    │   ├── Forbidden         403   a caller who may not
    │   ├── Filtered          400   a guardrail refuses the request
    │   ├── Withheld          422   a guardrail refuses the answer
    │   ├── UnknownAlias      404   no such model here
    │   ├── UnknownReceipt    404   no such receipt of this tenant
    │   ├── Unrecorded        503   receipts cannot be written and must be
    │   ├── UnknownRoute      404   no such path here
    │   ├── WrongMethod       405
    │   ├── TooLarge          413   body over the limit
    │   ├── Encoded           415   body in a coding that is not unpacked here
    │   ├── HeadersTooLarge   431
    │   ├── RateExceeded      429   more requests or tokens at a time than the caller's limits allow
    │   ├── BudgetSpent       429   the tokens of the day or the month are used up
    │   ├── LimitsAway        503   what is left of a limit cannot be asked for now
    │   ├── AuthAway          503   who asks cannot be checked now
    │   ├── Unsupported       501   no backend of this alias can do that
    │   └── Overloaded        503   queue full, deadline passed, or draining
    └── EngineFault                 a backend did not do its part
        ├── Unreachable       502   no connection
        ├── EngineRefused     502   5xx, or an error inside a 200
        ├── RateLimited       429   the engine sheds load
        ├── NotLoaded         503   the engine is up, the model of its target is not
        ├── BrokenAnswer      502   malformed, truncated or not what it says it is
        ├── Diverged          502   a second telling of a begun answer differs from the first
        ├── EngineTimeout     504   connect, first token, between tokens, total
        ├── Exhausted         503   ours, not its own: no descriptor or port is left to ask it with
        └── Unavailable       503   nothing is left to try

A message says what we were doing, with which value; `hint` says what to try. Foreign exceptions are translated at the
border where they appear. No I/O and no imports from other penstock modules here.
"""

from __future__ import annotations

from typing import ClassVar, Self


class PenstockError(Exception):
    """Root of everything Penstock raises on purpose."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"

    def __init__(
        self, message: str, *, hint: str = "", retry_after: int | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.retry_after = retry_after
        self.param = param

    def sentence(self) -> str:
        """Message and hint as one line for a protocol that has a single field for both."""
        return f"{self.message} {self.hint}" if self.hint else self.message

    def report(self) -> str:
        """What was attempted and what to try, as lines for a person who started us."""
        return f"error: {self.message}\n" + (f"try: {self.hint}\n" if self.hint else "")


class ConfigError(PenstockError):
    """A configuration that cannot be used."""

    code = "config_error"


class BadReceipt(PenstockError):
    """A receipt that cannot be written or read as its schema wants it."""

    code = "bad_receipt"


class BadNote(PenstockError):
    """A signed note, or a key, that is not what it should be, or is not signed by whom it should be."""

    code = "bad_note"


class BadLog(PenstockError):
    """A log whose files do not fit together; `at` is the first entry of which that is known."""

    code = "bad_log"

    def __init__(self, message: str, *, at: int | None = None, hint: str = "", param: str | None = None) -> None:
        super().__init__(message, hint=hint, param=param)
        self.at = at


class Refusal(PenstockError):
    """The caller's request is not carried out, for a reason on the caller's or our side."""


class BadRequest(Refusal):
    """Malformed, contradictory or beyond what any backend could take."""

    status = 400
    code = "invalid_request"


class Unauthorized(Refusal):
    """No caller stands behind this key."""

    status = 401
    code = "invalid_api_key"


class Forbidden(Refusal):
    """A known caller who may not do this."""

    status = 403
    code = "forbidden"


class Filtered(Refusal):
    """A guardrail of the alias refuses what was asked."""

    status = 400
    code = "content_filter"


class Withheld(Refusal):
    """A guardrail of the alias refuses what was answered."""

    status = 422
    code = "answer_withheld"


class UnknownAlias(Refusal):
    """No alias of this name is served here."""

    status = 404
    code = "model_not_found"


class UnknownReceipt(Refusal):
    """No receipt of this id for this tenant, or none yet."""

    status = 404
    code = "receipt_not_found"


class Unrecorded(Refusal):
    """Receipts cannot be written, and nothing may be answered without one."""

    status = 503
    code = "receipts_unavailable"


class UnknownRoute(Refusal):
    """No such path here; distinct from a wrong model name (W31)."""

    status = 404
    code = "route_not_found"


class WrongMethod(Refusal):
    """The path exists, the method does not."""

    status = 405
    code = "method_not_allowed"


class TooLarge(Refusal):
    """A body over the configured limit."""

    status = 413
    code = "body_too_large"


class Encoded(Refusal):
    """A compressed body: what it would unpack to has no bound that its sender does not choose."""

    status = 415
    code = "unsupported_encoding"


class HeadersTooLarge(Refusal):
    """A request head over the limit."""

    status = 431
    code = "headers_too_large"


class AuthAway(Refusal):
    """What would tell who asks (the store of keys, an issuer's keys) is away: nobody is let in on a guess."""

    status = 503
    code = "auth_unavailable"


class RateExceeded(Refusal):
    """More at a time than the limits of a key or its tenant allow: later it may pass."""

    status = 429
    code = "rate_limit_exceeded"


class BudgetSpent(Refusal):
    """The tokens of a key or its tenant for the day or the month are used up."""

    status = 429
    code = "insufficient_quota"


class LimitsAway(Refusal):
    """The state does not say what is left of a limit, and nothing is taken that cannot be counted."""

    status = 503
    code = "limits_unavailable"


class Unsupported(Refusal):
    """No backend of this alias can do what is asked."""

    status = 501
    code = "not_supported"


class Overloaded(Refusal):
    """Shed: the queue is full, its deadline passed, or we are draining."""

    status = 503
    code = "overloaded"


class EngineFault(PenstockError):
    """A backend did not do its part; the line may try another."""

    status = 502
    code = "engine_error"

    reason: ClassVar[str] = "fault"

    where: str = ""
    """The address that it happened at. For the log alone: callers know a backend by its name and nothing more."""

    before: bytes = b""
    """What may still go to the client: whole events that came in the same read, ahead of the one that is at fault."""

    @property
    def logged(self) -> str:
        """The message as the log has it."""
        return f"{self.message} ({self.where})" if self.where else self.message

    def of(self, backend: str) -> Self:
        """The same as a caller is told, who knows a backend by its name."""
        return type(self)(f"{backend}: {self.message}", hint=self.hint, retry_after=self.retry_after)

    def at(self, where: str) -> Self:
        """The same with its address."""
        self.where = where
        return self


class Unreachable(EngineFault):
    """No connection, or it died before the first byte of an answer."""

    code = "engine_unreachable"
    reason = "connect"


class EngineRefused(EngineFault):
    """5xx, or an error inside a 200."""

    code = "engine_refused"
    reason = "5xx"


class RateLimited(EngineFault):
    """429: the engine sheds load; nothing is wrong with it."""

    status = 429
    code = "engine_rate_limited"
    reason = "429"


class NotLoaded(EngineFault):
    """The engine is up, but the model of its target is not there."""

    status = 503
    code = "model_not_loaded"
    reason = "not_loaded"


class BrokenAnswer(EngineFault):
    """An answer that is malformed, truncated or not what its head says."""

    code = "engine_broken_answer"
    reason = "broken"


class Diverged(EngineFault):
    """Asked to go on with a begun answer, it tells another one: nothing is wrong with it, but the two cannot be joined."""

    code = "answer_diverged"
    reason = "diverged"


class EngineTimeout(EngineFault):
    """A limit of the configuration passed while waiting for a backend."""

    status = 504
    code = "engine_timeout"
    reason = "timeout"


class Exhausted(EngineFault):
    """This machine has no descriptor or no port left to ask the backend with: nothing is known of the backend."""

    status = 503
    code = "exhausted"
    reason = "exhausted"

    what: str = "descriptors"


class Unavailable(EngineFault):
    """Nothing is left to try for this alias."""

    status = 503
    code = "unavailable"
    reason = "unavailable"
