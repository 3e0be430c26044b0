"""`python -m tests.receipts.vectors`: writes specs/vectors/receipts again. Everything in it is made of fixed bytes."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path

from tests.receipts.logs import SIGNER, closed, opened

from penstock.receipts import export, proof, receipt
from penstock.receipts.folder import CHECKPOINT
from penstock.receipts.log import Log
from penstock.receipts.made import made
from penstock.receipts.note import COSIGNATURE, Note, Signer, parse
from penstock.receipts.spool import Closed, Opened
from penstock.receipts.store import Kept, Progress, Store
from penstock.receipts.writer import LOG

PLACE = Path(__file__).parents[2] / "specs" / "vectors" / "receipts"
WITNESS = Signer("witness.example/one", b"\x01" * 32, COSIGNATURE)
AT = 1_763_762_800
BAD = [
    {"file": "checkpoint", "find": "\n5\n", "put": "\n4\n", "kind": "checkpoint", "entry": None},
    {"file": "tile/entries/000.p/5", "byte": 40, "kind": "entry", "entry": 1},
    {"file": "tile/0/000.p/5", "byte": 64, "kind": "entry", "entry": 2},
    {"file": "receipts.jsonl", "find": '"status":200', "put": '"status":201', "kind": "receipt", "entry": 0},
    {"file": "receipts.jsonl", "find": '"place":3', "put": '"place":2', "kind": "receipt", "entry": 2},
    {"file": "tile/entries/000.p/5", "delete": True, "kind": "entry", "entry": 0},
]
"""One change each to `log`, and what a verifier finds."""


def lines() -> list[Closed | Opened]:
    """Five requests: a whole answer, a stream, a fallback, a refusal, one that was lost."""
    return [
        closed(0),
        closed(1, stream=True, first=2000, tools=(("weather", "ef" * 32),), finish="tool_calls"),
        closed(2, target=1, backend="spare", attempts=2, fallback=(("gpu-0", "unreachable"),), verdicts=(("secrets", "redacted"),)),
        closed(3, status=404, outcome="refused", error='No alias "nöne" is served.\n', target=-1, backend="", model="", attempts=0, usage=None, finish=""),
        opened(4),
    ]  # fmt: skip


def main() -> None:
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir(parents=True)
    found = lines()
    salts = b"".join(sha256(f"salt {number}".encode()).digest() for number in range(len(found)))
    receipts = made(found, salts)
    work = PLACE / "work"
    work.mkdir()
    store = Store(work, write=True)
    store.add(receipts, [None] * len(receipts), Progress())
    log = Log(work / LOG, SIGNER)
    log.append([one.entry for one in receipts])
    log.publish()
    export.export(store, work / LOG, SIGNER.verifier, PLACE / "log", None)
    store.close()
    head, tree = proof.head_of(PLACE / "log", SIGNER.verifier)
    one = receipts[1]
    (PLACE / "proof.json").write_bytes(
        proof.encode(proof.make(Kept(1, one.tenant, one.salt, one.data), tree, head)) + b"\n"
    )
    parsed = parse((PLACE / "log" / CHECKPOINT).read_bytes())
    cosigned = Note(parsed.text, (*parsed.signatures, WITNESS.sign(parsed.text, AT)))
    (PLACE / "cosigned").write_bytes(cosigned.encode())
    (PLACE / "keys.json").write_text(
        json.dumps({"log": str(SIGNER.verifier), "witness": str(WITNESS.verifier)}, indent=2) + "\n"
    )
    (PLACE / "bad.json").write_text(json.dumps(BAD, indent=2) + "\n")
    steps = [
        {"place": at, "salt": made_.salt.hex(), "canonical": made_.data.decode(), "entry": made_.entry.hex(), "leaf": sha256(b"\0" + made_.entry).hexdigest()}
        for at, made_ in enumerate(receipts)
    ]  # fmt: skip
    (PLACE / "steps.json").write_text(json.dumps(steps, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    assert receipt.read(receipts[0].data).v == 1
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
