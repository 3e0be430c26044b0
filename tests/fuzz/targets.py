"""Every parser that reads what others wrote, as a function of any bytes: what may come of them is listed, all else is a fault.

Beyond "it raises nothing unexpected" each holds its parser to a promise: any chunking gives the same result, what was
recognised is what parsing would have found, an edit changes nothing but what it edits.
"""

from __future__ import annotations

import contextlib
import json
import logging
import random
import re
from collections.abc import Callable, Iterator
from itertools import pairwise

import httptools
import msgspec

from penstock import units
from penstock.config import Config
from penstock.errors import BadRequest, BrokenAnswer, ConfigError, EngineFault, PenstockError, Refusal
from penstock.gateway import answer, known_head
from penstock.gateway.line import wanted
from penstock.gateway.prefix import prompt
from penstock.gateway.probe import vllm_load
from penstock.gateway.trace import continued
from penstock.guardrails.detectors import DETECTORS
from penstock.guardrails.find import Finder
from penstock.guardrails.links import Hosts, Links
from penstock.guardrails.schema import Schema
from penstock.guardrails.text import Chain, Verdicts
from penstock.patterns import Pattern
from penstock.protocols import heard, multipart, names, ndjson, splice, sse
from penstock.protocols.dialect import Call, Destination, Reader, Timing
from penstock.protocols.openai_stream import ChatStream
from penstock.protocols.repeatable import wish_of
from penstock.protocols.table import PAIRINGS, ROUTES
from penstock.shape import check
from penstock.types import Kind, Wire
from penstock.yaml_file import parse_yaml

Target = Callable[[bytes], None]

logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it tells of every form that it cannot read

CUT = b"\x00"
"""Parts one input from the next, where a target needs several."""
KINDS = {Wire.OPENAI: Kind.VLLM, Wire.OLLAMA: Kind.OLLAMA}
_OWN = re.compile(rb'-[0-9a-f]{24}|call_[0-9a-f]+|"created":[0-9]+|"created_at":"[^"]*"')
"""What a translation adds of its own: random ids, and when it was."""
FORM = "multipart/form-data; boundary=x"
PAIRS = sorted(PAIRINGS, key=str)
PATHS = sorted(ROUTES)


def _pieces(data: bytes) -> Iterator[bytes]:
    """The same bytes, cut in a way that depends on nothing else."""
    dice = random.Random(len(data) * 31 + sum(data[:64]))
    at = 0
    while at < len(data):
        end = at + dice.choice((1, 1, 2, 3, 7, 40, 400))
        yield data[at:end]
        at = end


# ── cutting ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _cut_events(pieces: list[bytes]) -> tuple[list[bytes], bytes]:
    splitter, events = sse.Splitter(), list[bytes]()
    for piece in pieces:
        events += splitter.feed(piece)
    rest = splitter.rest
    last = splitter.last()
    return events + last, b"" if last else rest


def cut_sse(data: bytes) -> None:
    """Events are the same whatever the chunking, nothing is lost between them, and each has data or none."""
    whole = _cut_events([data])
    assert whole == _cut_events(list(_pieces(data)))
    events, rest = whole
    assert b"".join(events) + rest == data.removeprefix(b"\xef\xbb\xbf") or data in {b"\xef", b"\xef\xbb"}
    for event in events:
        try:
            found = sse.payload(event)
        except BrokenAnswer:
            continue
        assert found is None or b"\r" not in found


def cut_ndjson(data: bytes) -> None:
    """Lines are the same whatever the chunking."""

    def lines(pieces: list[bytes]) -> tuple[list[bytes], bytes]:
        splitter = ndjson.Splitter()
        return [line for piece in pieces for line in splitter.feed(piece)], splitter.rest()

    whole = lines([data])
    assert whole == lines(list(_pieces(data)))
    assert all(b"\n" not in line and line.strip() for line in whole[0])


# ── requests ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _strict(body: bytes) -> object:
    """As the standard library reads it, each key once at the top; None where it is too deep for it."""
    try:
        return json.loads(body.decode())
    except RecursionError:
        return None


def requests(data: bytes) -> None:
    """A request of any route: refused in words, or read as another reader reads it, and written so that an engine can."""
    if not data:
        return
    path = PATHS[data[0] % len(PATHS)]
    form = b"audio/trans" in path
    try:
        call = ROUTES[path].decode(data[1:], FORM if form else "application/json")
    except Refusal:
        return
    if not form:
        found = _strict(call.body)
        assert found is None or isinstance(found, dict)
        if found is not None:
            assert call.model == (found.get("model") or "")
            wish_of(call)
    prompt("tenant", "model", call.session, call.body)
    for wire, kind in KINDS.items():
        if (path.decode(), wire) in PAIRINGS:
            _write(path.decode(), wire, kind, call, form=form)


def _write(path: str, wire: Wire, kind: Kind, call: Call, *, form: bool) -> None:
    try:
        outgoing = PAIRINGS[path, wire].request(call, Destination(kind=kind, model="engine's", window=4096))
    except Refusal:
        return
    if form:
        assert multipart.fields(outgoing.body, FORM)["model"].value == b"engine's"
        return
    written = _strict(outgoing.body)
    if isinstance(written, dict):
        assert written["model"] == "engine's", written
        _compare(call, written, outgoing.path)


def _compare(call: Call, written: dict[str, object], path: str) -> None:
    """Where both ends speak the same protocol, all else is as the client wrote it."""
    if path != call.path or path.startswith("/api/"):
        return
    given = _strict(call.body)
    if isinstance(given, dict):
        ours = {"model", "stream_options"}
        left, right = ({key: one[key] for key in one.keys() - ours} for one in (given, written))
        assert str(left) == str(right) or left == right


def edits(data: bytes) -> None:
    """One member of an object is changed, every other stays."""
    try:
        given = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        data.decode()
        spans = splice.spans(data)
        _plain(given)  # a number may be too large for us, though not for an engine
    except (msgspec.DecodeError, UnicodeDecodeError, BadRequest, RecursionError):
        return
    assert spans.keys() == given.keys()
    for name, span in spans.items():
        assert msgspec.json.decode(data[span.value : span.end]) == msgspec.json.decode(given[name])
    replaced = msgspec.json.decode(splice.replace(data, {"model": b'"x"'}), type=dict[str, msgspec.Raw])
    assert {**_plain(given), "model": "x"} == _plain(replaced)
    if isinstance(_plain(given).get("model"), str):
        assert _plain(
            msgspec.json.decode(splice.replace_present(data, "model", b'"x"'), type=dict[str, msgspec.Raw])
        ) == {
            **_plain(given),
            "model": "x",
        }


def _plain(members: dict[str, msgspec.Raw]) -> dict[str, object]:
    return {name: msgspec.json.decode(value) for name, value in members.items()}


def forms(data: bytes) -> None:
    """A form is refused, or its fields stand where they are said to stand."""
    try:
        fields = multipart.fields(data, FORM)
    except BadRequest:
        return
    for name, field in fields.items():
        assert data[field.start : field.end] == field.value
        if b"\r" not in field.value and b"\n" not in field.value:
            changed = multipart.fields(multipart.replaced(data, field, b"other"), FORM)
            assert changed[name].value == b"other"


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _tell(reader: Reader, pieces: list[bytes]) -> tuple[bytes, str]:
    """What the client gets, and the kind of fault that ended it."""
    told = b""
    try:
        for piece in pieces:
            told += reader.feed(piece)
        told += reader.close()
    except EngineFault as fault:
        return told + fault.before, type(fault).__name__
    assert reader.finished
    assert reader.content or not told
    return told, ""


def answers(data: bytes) -> None:
    """An engine's answer on any route: broken, or told whole; and the same whatever the chunking."""
    if len(data) < 2:
        return
    path, wire = PAIRS[data[0] % len(PAIRS)]
    stream = data[1] % 2 == 1
    body = _request(path, stream=stream)
    form = "audio/trans" in path
    try:
        call = ROUTES[path.encode()].decode(body, FORM if form else "application/json")
        to = Destination(kind=KINDS[wire], model="m", window=4096)
        pairing = PAIRINGS[path, wire]
        pairing.request(call, to)
    except Refusal:
        return

    def reader() -> Reader:
        return pairing.reader(call, to, Timing(1), lambda: 2)

    told, fault = _tell(reader(), [data[2:]])
    again, another = _tell(reader(), list(_pieces(data[2:])))
    assert (_OWN.sub(b"", told), fault) == (_OWN.sub(b"", again), another)
    assert reader().fault(BrokenAnswer("x"))


def _request(path: str, *, stream: bool) -> bytes:
    if "audio/trans" in path:
        parts = {"model": "m", "stream": "true" if stream else "false"}
        rows = [
            f'--x\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in parts.items()
        ]
        return ("".join(rows) + "--x--\r\n").encode()
    fields = {
        "messages": [{"role": "user", "content": "u"}], "prompt": "p", "input": "i", "max_tokens": 9, "query": "q",
        "documents": ["d"], "text_1": "a", "text_2": "b", "tokens": [1], "voice": "v",
    }  # fmt: skip
    return json.dumps({"model": "m", "stream": stream, **fields}).encode()


def known_events(data: bytes) -> None:
    """A stream whose events are recognised passes as one whose events are all decoded."""
    call = ROUTES[b"/v1/chat/completions"].decode(_request("/v1/chat/completions", stream=True), "application/json")
    for asked in (False, True):
        one = msgspec.structs.replace(call, usage_asked=asked)
        quick, slow = ChatStream(one, Timing(1), lambda: 2), ChatStream(one, Timing(1), lambda: 2)
        slow._lessons = 0
        pieces = [piece + b"\n\n" for piece in data.split(CUT)]
        assert _tell(quick, pieces) == _tell(slow, pieces)
        assert (quick.usage, quick.finish_reason, quick.content) == (slow.usage, slow.finish_reason, slow.content)


def hearing(data: bytes) -> None:
    """What a pair of answers is compared by never stops the comparison."""
    if len(data) < 2:
        return
    path = sorted(heard.PATHS)[data[0] % len(heard.PATHS)]
    try:
        heard.hear(path, data[2:], stream=data[1] % 2 == 1)
    except BrokenAnswer:
        return


def load_pages(data: bytes) -> None:
    """A page of metrics, however garbled."""
    try:
        vllm_load(data)
    except PenstockError:
        return


# ── heads ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Message:
    """What httptools makes of bytes that should be one message."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.begun = self.complete = 0
        self.trailing = False

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.trailing = self.trailing or bool(self.body)
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete += 1


def _parsed(data: bytes, *, response: bool) -> tuple[_Message, object] | None:
    message = _Message()
    parser = httptools.HttpResponseParser(message) if response else httptools.HttpRequestParser(message)
    try:
        parser.feed_data(data)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    if message.begun != 1 or message.complete != 1:
        return None
    kind = parser.get_status_code() if isinstance(parser, httptools.HttpResponseParser) else parser.get_method()
    return message, kind


def heads(data: bytes) -> None:
    """What is recognised by its bytes is what the parser would have found: one message, the same head, that body."""
    first, found, second = data.partition(CUT)
    if not found:
        return
    response = first[:5] == b"HTTP/"
    lesson = _parsed(first, response=response)
    if lesson is None:
        return
    known = known_head.learn(first, len(lesson[0].body), lesson)
    body = known.body(second) if known is not None else None
    if body is None:
        return
    parsed = _parsed(second, response=response)
    assert parsed is not None, (first, second)
    assert parsed[0].body == body
    assert (parsed[1], parsed[0].url) == (lesson[1], lesson[0].url)
    ours, theirs = ([pair for pair in one.headers if pair[0] != b"content-length"] for one in (lesson[0], parsed[0]))
    assert ours == theirs
    assert wanted(ours) == wanted(theirs)


def header_values(data: bytes) -> None:
    """Headers of engines and clients that say a time, a trace, a name."""
    seconds = answer.retry_after(data)
    assert seconds is None or 0 <= seconds <= 3600
    trace = continued(data)
    assert b"\r" not in trace
    assert b"\n" not in trace


def model_names(data: bytes) -> None:
    """Spellings of a name: the client's own first, and a tag spelled out stays as it is."""
    name = data.decode("utf-8", "replace")
    assert names.lookup(name)[0] == name
    assert names.tagged(names.tagged(name)) == names.tagged(name)
    assert names.bare(names.tagged(name)) == names.bare(name) or names.tag(name) == ""


# ── configuration ────────────────────────────────────────────────────────────────────────────────────────────────────


def quantities(data: bytes) -> None:
    """A duration, size or share is refused, or comes back from its own spelling."""
    text = data.decode("utf-8", "replace")
    for read, spelled in ((units.seconds, units.seconds_text), (units.share, units.share_text)):
        try:
            value = read(text)
        except ValueError:
            continue
        assert read(spelled(value)) == value, (text, value, spelled(value))
    try:
        size = units.size(text)
    except ValueError:
        return
    assert units.size(units.size_text(size)) == size


def files(data: bytes) -> None:
    """A configuration file is refused in words, or its tree is checked to the end."""
    try:
        placed = parse_yaml(data, "penstock.yaml")
    except ConfigError:
        return
    check(placed.data, Config)


def guardrails(data: bytes) -> None:
    """Steps over text give the same for any cuts; patterns and schemas are read or refused."""
    rule, _, rest = data.partition(CUT)
    text = rest.decode("utf-8", "replace")
    with contextlib.suppress(ValueError):
        found = Pattern(rule.decode("utf-8", "replace"))
        early, late = found.search(text[: len(text) // 2], 0), found.search(text, 0)
        until = found.decided(text[: len(text) // 2], 0)
        assert early == late if early is not None and early[0] < until else late is None or late[0] >= until
    with contextlib.suppress(ValueError):
        Schema(rule).problem(text)
    for make in (_links, _finders):
        whole, cut = make(), make()
        said = whole.feed(text) + whole.end()
        places = sorted({place % (len(text) + 1) for place in data[:8]} | {0, len(text)})
        assert "".join(cut.feed(text[at:to]) for at, to in pairwise(places)) + cut.end() == said


def _links() -> Links:
    return Links(Hosts(["good.example"]), Verdicts())


def _finders() -> Chain:
    return Chain([Finder(make(), Verdicts(), "output", refuses=False) for make in DETECTORS.values()])


TARGETS: dict[str, Target] = {
    "guardrails": guardrails,
    "sse": cut_sse,
    "ndjson": cut_ndjson,
    "requests": requests,
    "edits": edits,
    "forms": forms,
    "answers": answers,
    "known-events": known_events,
    "hearing": hearing,
    "load-pages": load_pages,
    "heads": heads,
    "header-values": header_values,
    "model-names": model_names,
    "quantities": quantities,
    "files": files,
}
