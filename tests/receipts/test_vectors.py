"""The committed vectors of specs/receipts.md, by our verifier, and once more by forty lines that share nothing with it."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from tests.receipts.vectors import BAD, PLACE, lines

from penstock.receipts import note, proof, receipt
from penstock.receipts import verify as verifying
from penstock.receipts.made import made
from penstock.receipts.verify import Trust

KEYS = json.loads((PLACE / "keys.json").read_text())
LOG, WITNESS = note.verifier(KEYS["log"]), note.verifier(KEYS["witness"])


def test_the_log_verifies() -> None:
    report = verifying.verify(PLACE / "log", Trust(LOG), [(PLACE / "cosigned").read_bytes()])
    assert (report.findings, report.size, report.receipts) == ([], 5, 5)


def test_the_witness_has_signed() -> None:
    trust = Trust(LOG, (WITNESS,), 1)
    assert trust.checked((PLACE / "cosigned").read_bytes()).size == 5
    assert verifying.verify(PLACE / "log", trust).findings[0].kind == "checkpoint"


def test_the_proof_verifies() -> None:
    found, place, _ = proof.verify(proof.decode((PLACE / "proof.json").read_bytes()), LOG)
    assert (found.id, place) == ("req-1", 1)


def test_receipts_are_still_made_so() -> None:
    """Only the salts are new with every receipt."""
    steps = json.loads((PLACE / "steps.json").read_text())
    for one, step in zip(made(lines()), steps, strict=True):
        kept = receipt.read(step["canonical"].encode())
        fresh = receipt.read(one.data)
        assert (kept.id, kept.time, kept.usage, kept.fallback, kept.error) == (
            fresh.id,
            fresh.time,
            fresh.usage,
            fresh.fallback,
            fresh.error,
        )


@pytest.mark.parametrize("change", BAD, ids=lambda change: f"{change['file']}-{change['entry']}")
def test_every_change_is_found_and_named(change: dict[str, Any], tmp_path: Path) -> None:
    shutil.copytree(PLACE / "log", tmp_path / "log")
    file = tmp_path / "log" / change["file"]
    data = bytearray(file.read_bytes())
    if change.get("delete"):
        file.unlink()
    elif "byte" in change:
        data[change["byte"]] ^= 1
        file.write_bytes(data)
    else:
        assert bytes(data).count(change["find"].encode())
        file.write_bytes(bytes(data).replace(change["find"].encode(), change["put"].encode(), 1))
    found = verifying.verify(tmp_path / "log", Trust(LOG)).first
    assert found is not None
    assert (found.kind, found.at) == (change["kind"], change["entry"])


def test_by_hand() -> None:
    """From the text of the specification: leaves, tree, note."""
    steps = json.loads((PLACE / "steps.json").read_text())
    leaves = []
    for step in steps:
        canonical = json.dumps(json.loads(step["canonical"]), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert canonical == step["canonical"]
        entry = hashlib.sha256(bytes.fromhex(step["salt"]) + canonical.encode()).digest()
        leaves.append(hashlib.sha256(b"\x00" + entry).digest())
        assert (entry.hex(), leaves[-1].hex()) == (step["entry"], step["leaf"])

    def node(left: bytes, right: bytes) -> bytes:
        return hashlib.sha256(b"\x01" + left + right).digest()

    root = node(node(node(leaves[0], leaves[1]), node(leaves[2], leaves[3])), leaves[4])
    text, _, below = (PLACE / "log" / "checkpoint").read_text().partition("\n\n")
    origin, size, said = text.split("\n")
    assert (origin, size, base64.b64decode(said)) == ("penstock.example/log", "5", root)
    key = base64.b64decode(KEYS["log"].rsplit("+", 1)[1])
    signature = base64.b64decode(below.split(" ")[2])
    assert signature[:4] == hashlib.sha256(origin.encode() + b"\n" + key).digest()[:4]
    Ed25519PublicKey.from_public_bytes(key[1:]).verify(signature[4:], text.encode() + b"\n")
    entries = b"".join(b"\x00\x20" + bytes.fromhex(step["entry"]) for step in steps)
    assert (PLACE / "log" / "tile" / "entries" / "000.p" / "5").read_bytes() == entries
    assert (PLACE / "log" / "tile" / "0" / "000.p" / "5").read_bytes() == b"".join(leaves)
