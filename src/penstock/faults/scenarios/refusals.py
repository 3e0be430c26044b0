"""Row 8: what the caller did wrong is said to the caller, by the first engine, and is no fault of that engine."""

from __future__ import annotations

from penstock.faults.breaking import healthy, named
from penstock.faults.faces import faces
from penstock.faults.scenario import Failed, Need, Scenario
from penstock.faults.script import HEALTHY, Script
from penstock.faults.seen import Outcome, Seen
from penstock.faults.site import MODEL, Site, answered, explicit

MISTAKES = {
    400: "This model's maximum context length is 4096 tokens. (context_length_exceeded)",
    413: "The request body is too large.",
    422: "Unprocessable: n must be at least 1.",
}
FILTERED = "The response was filtered due to the prompt triggering the content management policy. (content_filter)"
_MANY = 12
"""More than any breaker takes in a row."""


async def mistakes(site: Site) -> None:
    """400 context_length_exceeded, 413, 422: the engine's words and status; asked once, of A alone, streamed and whole."""
    for status, words in MISTAKES.items():
        for stream in (True, False):
            for face in faces(site):
                site.a.requests.clear()
                site.a.script = Script(status=status, message=words)
                with named(f"{status}, {face.name}"):
                    _passed(site, await site.ask(stream=stream, **face.route), status, words)
    await site.counted("penstock_attempts_failed_total", 0, {"backend": "a"})
    await site.counted("penstock_requests_total", 2 * len(faces(site)), {"backend": "a", "status": "422"})
    await site.logged(event="request", backend="a", status=422)
    if site.ours and site.b.requests:
        raise Failed("no request to B was expected for a caller's mistake, seen one")


async def filtered(site: Site) -> None:
    """400 from a content filter: said as it is, and not tried elsewhere until something lets it pass."""
    site.a.script = Script(status=400, message=FILTERED)
    _passed(site, await site.ask(), 400, FILTERED)
    await site.logged(event="request", backend="a", status=400)
    if site.ours and site.b.requests:
        raise Failed("no request to B was expected for filtered content, seen one")


async def breaker(site: Site) -> None:
    """Twelve mistakes of a caller in a row, of each status: A is asked the next question as if nothing had happened."""
    for status in (400, 401, 403, 413, 422, 404):
        site.a.script = Script(status=status, message="The model `m` does not exist." if status == 404 else "no")
        for _ in range(_MANY):
            await site.ask(stream=False)
        if status in {401, 403, 404}:
            await _asked_again(site, status)
        site.a.script = HEALTHY
        with named(str(status)):
            site.a.answered = 0
            # one that was said to be without its model is passed over until it has been looked at
            answered(await site.ask(stream=False), by=None if status == 404 else site.a)
    await site.counted("penstock_breaker_state", 0, {"backend": "a"})
    await site.logged(event="request", backend="a", outcome="answered")


async def key(site: Site) -> None:
    """401 and 403 to the gateway's own key: B answers, the caller reads nothing of the key, A is not taken for broken."""
    for status in (401, 403):
        await healthy(site, site.a)
        site.a.script = Script(status=status, message="invalid key sk-of-the-gateway")
        for stream in (True, False):
            answered(await site.ask(stream=stream), by=site.b)
    site.b.script = site.a.script
    seen = explicit(await site.ask(stream=False), Outcome.REFUSED)
    if "sk-of-the-gateway" in seen.error:
        raise Failed(f"an error without the engine's words on the key was expected, seen {seen}")
    await site.counted("penstock_fallback_total", 5, {"from": "a", "to": "b", "reason": "5xx"})
    await site.counted("penstock_breaker_state", 0, {"backend": "a"})
    await site.logged(event="request", backend="b", fallback="5xx", outcome="answered")


async def model_not_found(site: Site) -> None:
    """404 for the model: B answers; where nobody has it, 503 that says so, not a 404 that blames the caller."""
    gone = Script(status=404, message=f"The model `{MODEL}` does not exist.")
    for stream in (True, False):
        site.a.script = gone
        answered(await site.ask(stream=stream), by=site.b)
    site.b.script = gone
    seen = explicit(await site.ask(stream=False), Outcome.REFUSED)
    if site.ours and seen.status != 503:
        raise Failed(f"503 was expected, seen {seen}")
    await site.counted("penstock_breaker_state", 0, {"backend": "a"})
    await site.logged(event="request", backend="b", outcome="answered")
    await site.logged(event="request", outcome="refused", status=503)


async def odd_bodies(site: Site) -> None:
    """The refusal is a page of HTML, compressed, or empty: still an error of the client's own protocol with that status."""
    page = "<html><body>413 Request Entity Too Large</body></html>"
    for head, body in (
        ("text/html", page),
        ("application/json\r\ncontent-encoding: gzip", "\x1f\x8b\x08\x00"),
        ("text/plain", ""),
    ):
        raw = f"HTTP/1.1 413 Too Large\r\ncontent-type: {head}\r\ncontent-length: {len(body)}\r\n\r\n{body}"
        for face in faces(site):
            site.a.script = Script(raw=raw)
            site.a.requests.clear()
            with named(f"{head!r}, {face.name}"):
                _passed(site, await site.ask(stream=False, **face.route), 413, "")
    await site.counted("penstock_attempts_failed_total", 0, {"backend": "a"})
    await site.logged(event="request", backend="a", status=413)


def _passed(site: Site, seen: Seen, status: int, words: str) -> None:
    explicit(seen, Outcome.REFUSED)
    if seen.status != status or (words not in seen.error and site.ours):
        raise Failed(f"{status} {words!r} was expected, seen {seen}")
    if len(site.a.requests) > 1:
        raise Failed(f"one attempt at A was expected, seen {len(site.a.requests)}")


async def _asked_again(site: Site, status: int) -> None:
    """Whoever answers meanwhile: a key that is refused and a model that is missing open no breaker."""
    if site.ours and await site.metric("penstock_breaker_state", {"backend": "a"}):
        raise Failed(f"a closed breaker was expected after {_MANY} answers with {status}")


_OURS = frozenset({Need.PENSTOCK})

SCENARIOS = (
    Scenario(8, "mistakes", mistakes),
    Scenario(8, "content-filter", filtered),
    Scenario(8, "breaker", breaker, _OURS),
    Scenario(8, "key", key, _OURS),
    Scenario(8, "model-not-found", model_not_found),
    Scenario(8, "odd-bodies", odd_bodies),
)
