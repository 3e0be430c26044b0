"""What receipts cost: noting a request, logging it, verifying the log, opening a large one, proving one entry.

All on one core, in this process, over the real files in a folder of their own. Rates are of processor time, which other
work on the machine does not change, and of wall time, which it does.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from bench import machine
from penstock.gateway.receipt_note import Note
from penstock.gateway.receipt_spool import Spool
from penstock.receipts import spool
from penstock.receipts.export import export
from penstock.receipts.folder import Folder
from penstock.receipts.log import Log
from penstock.receipts.note import Signer
from penstock.receipts.spool import Closed, Opened
from penstock.receipts.store import Store
from penstock.receipts.verify import Trust, verify
from penstock.receipts.writer import LOG, SPOOL, Writer

LARGE = 1_000_000
PROOFS = 500
NOTED = 20_000
BODY, ANSWER = b"x" * 1024, b"y" * 512
SIGNER = Signer("bench.example/log", bytes(32))


@dataclass
class Figure:
    """One thing that was measured."""

    name: str
    unit: str
    value: float
    wall: float
    """The same by wall time."""
    target: str
    met: bool


@dataclass
class Result:
    """All of them."""

    machine: dict[str, object]
    commit: str
    priority: str
    requests: int
    figures: list[Figure] = field(default_factory=list)

    def rate(self, name: str, count: int, took: Sequence[float], least: float) -> None:
        """So many in a second, and not fewer than that."""
        value = count / took[0]
        self.figures.append(Figure(name, "/s", value, count / took[1], f"≥ {least:,.0f}", value >= least))

    def most(self, name: str, unit: str, took: Sequence[float], most: float) -> None:
        """Not more than that."""
        self.figures.append(Figure(name, unit, took[0], took[1], f"≤ {most:g}", took[0] <= most))


def run(requests: int, note: Callable[[str], None]) -> Result:
    """Everything, in a folder that is gone afterwards."""
    facts = machine.describe()
    policy = {os.SCHED_OTHER: "normal", getattr(os, "SCHED_IDLE", 5): "idle"}.get(os.sched_getscheduler(0), "other")
    result = Result(facts.as_dict(), machine.commit(), policy, requests)
    with tempfile.TemporaryDirectory(prefix="bench-receipts-") as name:
        place = Path(name)
        note("noting requests")
        _noted(place / "noted", result)
        note("logging")
        _logged(place / "logged", requests, result)
        note("a million entries")
        _large(place / "large", result)
    return result


def _noted(place: Path, result: Result) -> None:
    place.mkdir()
    kept = Spool(place, 1 << 40)
    caller = SimpleNamespace(tenant="acme", key_id="key-1", name="alice")
    backend = SimpleNamespace(name="gpu-0", sighting=SimpleNamespace(models={}))
    way = SimpleNamespace(rank=0, backend=backend, model="meta-llama/Meta-Llama-3.1-8B-Instruct")
    reader = SimpleNamespace(finish_reason="stop", usage=SimpleNamespace(prompt_tokens=300, completion_tokens=100))
    receipts = SimpleNamespace(keeps=False, fold_at=1 << 16, spool=kept, strict=False, durable=frozenset())
    client = SimpleNamespace(answer=lambda *_: None)
    request = SimpleNamespace(
        id=b"req-0123456789ab-12345", caller=caller, alias_name="assistant", queued=0.0, failures=(), attempts=1, verdicts=(),
        route=SimpleNamespace(path="/v1/chat/completions"), call=SimpleNamespace(body=BODY, stream=False),
        timing=SimpleNamespace(arrived=time.monotonic_ns(), sent=time.monotonic_ns(), first=0), attempt=SimpleNamespace(way=way, reader=reader),
    )  # fmt: skip
    with _timed() as took:
        for _ in range(NOTED):
            one = Note(cast("Any", receipts), cast("Any", client), cast("Any", request))
            one.opened(cast("Any", request), cast("Any", way))
            one.answer(200, [], ANSWER)
            one.closed(cast("Any", request), 200, "answered", "")
    each = (took[0] / NOTED * 1e6, took[1] / NOTED * 1e6)
    result.most("noting a request: two lines, two digests", "µs", each, 8.0)
    os.close(kept.file.number)


def _logged(place: Path, requests: int, result: Result) -> None:
    (place / SPOOL).mkdir(parents=True)
    number = spool.create(place / SPOOL, "1")
    for at in range(requests):
        fields = (
            f"req-0123456789ab-{at:x}",
            1_763_762_725_000_000 + at,
            "acme",
            "key-1",
            "alice",
            "assistant",
            "/v1/chat/completions",
            False,
        )
        opened = Opened(at, *fields, 0, "gpu-0", "meta-llama/Meta-Llama-3.1-8B-Instruct", None, "ab" * 32)
        closed = Closed(
            at, *fields, 200, "answered", None, 0, "gpu-0", "meta-llama/Meta-Llama-3.1-8B-Instruct", None, 1, "stop", "ab" * 32, "cd" * 32,
            (300, 100), 250, None, 0, 900_000,
        )  # fmt: skip
        os.write(number, spool.encode(opened) + b"\n" + spool.encode(closed) + b"\n")
    os.close(number)
    writer = Writer(place, SIGNER)
    with _timed() as took:
        while writer.step().receipts:
            pass
    writer.close()
    result.rate("receipts logged: spool, store, log, checkpoint", requests, took, 20_000)
    store = Store(place)
    export(store, place / LOG, SIGNER.verifier, place / "out", None)
    store.close()
    with _timed() as took:
        report = verify(place / "out", Trust(SIGNER.verifier))
    assert report.good  # noqa: S101 - a figure of a log that does not verify says nothing
    assert report.receipts == requests  # noqa: S101 - likewise
    result.rate("entries verified, each with its receipt", requests, took, 100_000)


def _large(place: Path, result: Result) -> None:
    log = Log(place, SIGNER)
    with _timed() as took:
        for _ in range(LARGE // 8000):
            data = os.urandom(8000 * 32)
            log.append([data[at : at + 32] for at in range(0, len(data), 32)])
        log.publish()
    result.rate("entries appended to the log alone", log.size, took, 20_000)
    with _timed() as took:
        Log(place, SIGNER)
    result.most("opening a log of 1,000,000 entries", "s", took, 1.0)
    with _timed() as took:
        report = verify(place, Trust(SIGNER.verifier))
    assert report.good  # noqa: S101 - likewise
    result.rate("entries verified, of a log of 1,000,000", LARGE, took, 100_000)
    luck = random.Random(1)  # noqa: S311 - the same places each time
    shown: list[tuple[float, float]] = []
    for _ in range(PROOFS):
        tree = Folder(place, LARGE)
        with _timed() as took:
            tree.inclusion(luck.randrange(LARGE))
        shown.append((took[0], took[1]))
    shown.sort()
    middle, late = shown[PROOFS // 2], shown[PROOFS * 99 // 100]
    result.most("an inclusion proof, nothing cached, median", "ms", (middle[0] * 1e3, middle[1] * 1e3), 1.0)
    result.most("an inclusion proof, nothing cached, P99", "ms", (late[0] * 1e3, late[1] * 1e3), 1.0)


@contextmanager
def _timed() -> Iterator[list[float]]:
    """Processor and wall seconds, once it is over."""
    took = [0.0, 0.0]
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield took
    finally:
        took[0], took[1] = time.process_time() - cpu, time.perf_counter() - wall


def markdown(result: Result, command: str) -> str:
    """For people."""
    rows = [
        f"| {one.name} | {_told(one.value)} {one.unit} | {_told(one.wall)} {one.unit} | {one.target} | {'yes' if one.met else '**no**'} |"
        for one in result.figures
    ]
    return "\n".join(
        [
            f"# Receipts\n\n`{command}`, at commit {result.commit}, at {result.priority} priority, {result.requests:,} requests. {json.dumps(result.machine)}\n",
            "| what | by processor time | by wall time | target | met |\n|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _told(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def write(result: Result, stem: Path, command: str) -> tuple[Path, Path]:
    """For machines and for people."""
    data, text = stem.with_suffix(".json"), stem.with_suffix(".md")
    data.write_text(json.dumps(asdict(result), indent=1, ensure_ascii=False) + "\n")
    text.write_text(markdown(result, command))
    return data, text
