"""What one answer of a scripted engine does: a frozen value, readable from JSON. No I/O here."""

from __future__ import annotations

from typing import Literal

import msgspec


class ToolUse(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One function call the engine answers with."""

    name: str
    arguments: str = "{}"
    """JSON text, sent in the middle-split deltas that real engines send."""


Habit = Literal["no-space", "split-data", "fields", "comments", "bom"]
"""An odd and valid way to write events."""
Break = Literal["junk", "nul", "utf8", "bare", "error", "bare-error", "named-error"]
"""A way to write an event that is wrong."""


class Script(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The default script is a healthy engine: it answers at once with an echo of the last user message."""

    # what is said
    tokens: tuple[str, ...] | None = None
    """The answer's tokens; None: the last user message's own words."""
    count: int | None = None
    """Exactly so many tokens, repeating or cutting what would have been said."""
    reasoning: tuple[str, ...] = ()
    """Tokens of thought that come before the answer."""
    tools: tuple[ToolUse, ...] = ()
    """Calls answered with when the request offers tools and holds no tool result yet."""
    finish: str = ""
    """Finish reason other than the one that follows from the request."""
    usage: bool = True
    """False: leave usage out where the protocol would carry it."""

    # when
    first: float = 0.0
    """Seconds before the first token."""
    gap: float = 0.0
    """Seconds between tokens."""
    late_head: bool = False
    """Streams: send the response head with the first token, not before it."""
    head_gap: float = 0.0
    """Seconds between the bytes of the response head."""
    silent: bool = False
    """Accept and never answer."""

    # how a stream is written; all of it is valid
    line_end: Literal["lf", "crlf", "cr"] = "lf"
    """Streams: how lines end."""
    habits: tuple[Habit, ...] = ()
    """Event streams: `data:` without its space; the JSON over two `data` lines; other fields beside the data; comments, one of them with NULs, between events; a byte order mark at the start."""
    write: int = 0
    """Streams: bytes of one write, cutting through characters and line ends; 0: an event each."""
    done: Literal["once", "never", "twice", "followed"] = "once"
    """The stream's last event (`[DONE]`, `message_stop`, `done: true`): as it should be, left out, sent twice, or followed by more of the answer. Left out, `[DONE]` may be forgiven; the others are the only end there is."""

    # how it fails; positions count tokens written
    status: int = 200
    """Anything but 200 refuses the request with this status and the engine's own error body."""
    retry_after: str | None = None
    """The Retry-After header of a refusal, as it stands there."""
    message: str = ""
    """Words of the refusal or of the error event."""
    reset: bool = False
    """Reset the connection before any byte of an answer."""
    stall_after: int | None = None
    """Stop writing after so many tokens, with the connection open."""
    cut_after: int | None = None
    """End the stream after so many tokens in the way `cut` names."""
    cut: Literal["rst", "fin", "eos"] = "rst"
    """Reset; close mid-body; or a clean end of the body without finish or `[DONE]`."""
    malformed_after: int | None = None
    """Write an event that is wrong after so many tokens, and go on."""
    malformed: Break = "junk"
    """Half a JSON object; NULs before `data`; half of a character in a member that few decoders look at; JSON without `data:`; and errors in shapes of their own: vLLM's old one, one without `data:`, one named by `event: error` alone."""
    giant_after: int | None = None
    """Write one line without an end after so many tokens, `giant` bytes of it, and then go on."""
    giant: int = 16777216
    """Bytes of that line."""
    error_after: int | None = None
    """Write an in-band error event after so many tokens, then end cleanly."""
    truncate: int | None = None
    """Whole answers: promise the full length, send only so many bytes, close."""
    cut_json: int | None = None
    """Whole answers: send a body that ends after so many bytes and says that this is its length."""
    gzip: bool = False
    """Compress the body, which nobody asked for, and say so."""
    raw: str | None = None
    """The answer byte for byte, head and all, in place of any other; each character is a byte (Latin-1)."""
    content_type: str = ""
    """Content type other than the true one."""
    body: str | None = None
    """Raw body in place of the answer, e.g. a proxy's HTML page."""
    close: bool = False
    """Answer properly, then close the connection."""


HEALTHY = Script()


def parse(text: str | bytes) -> Script:
    """A script from its JSON; raise `msgspec.ValidationError` that names the wrong key."""
    return msgspec.json.decode(text, type=Script)
