"""Signed notes and checkpoints: the vector of the format's first implementation, our keys, and every way to be no note."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import BadNote
from penstock.receipts import checkpoint, note
from penstock.receipts.checkpoint import Checkpoint
from penstock.receipts.merkle import EMPTY
from penstock.receipts.note import COSIGNATURE, Note, Signer

PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
SIGNED = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
).encode()

LOG = Signer("penstock.example/log", bytes(32))
WITNESS = Signer("witness.example/one", b"\x01" * 32, COSIGNATURE)


def test_a_note_of_the_first_implementation() -> None:
    key = note.verifier(PETER)
    assert str(key) == PETER
    parsed = note.parse(SIGNED)
    assert parsed.encode() == SIGNED
    assert key.accepts(parsed)
    with pytest.raises(BadNote):
        key.accepts(note.parse(SIGNED.replace(b"problem is", b"problem was")))


def test_keys_are_lines() -> None:
    for signer in (LOG, WITNESS):
        again = Signer.read(signer.secret() + "\n")
        assert again.verifier == note.verifier(str(signer.verifier)) == signer.verifier
    with pytest.raises(BadNote):
        Signer.read(LOG.secret().replace("log", "gol"))
    with pytest.raises(BadNote):
        note.verifier(str(LOG.verifier).replace("log", "gol"))
    for name in ("", "a b", "a+b", "a\nb"):
        with pytest.raises(BadNote):
            Signer(name, bytes(32))


def test_a_checkpoint_is_signed_by_its_log_and_by_witnesses() -> None:
    made = Checkpoint("penstock.example/log", 0, EMPTY)
    data = made.signed(LOG)
    assert checkpoint.verified(data, LOG.verifier) == made
    with pytest.raises(BadNote, match="witnesses"):
        checkpoint.verified(data, LOG.verifier, (WITNESS.verifier,), 1)
    parsed = note.parse(data)
    both = Note(parsed.text, (*parsed.signatures, WITNESS.sign(parsed.text, 1679315147))).encode()
    assert checkpoint.verified(both, LOG.verifier, (WITNESS.verifier,), 1) == made
    later = WITNESS.sign(parsed.text, 1679315148)
    moved = note.Signature(later.name, later.id, (1679315147).to_bytes(8, "big") + later.data[8:])
    with pytest.raises(BadNote):
        checkpoint.verified(
            Note(parsed.text, (*parsed.signatures, moved)).encode(), LOG.verifier, (WITNESS.verifier,), 1
        )


def test_a_witness_is_no_log_and_another_log_is_not_this_one() -> None:
    text = Checkpoint("penstock.example/log", 0, EMPTY).text()
    with pytest.raises(BadNote):
        checkpoint.verified(Note(text, (WITNESS.sign(text, 1),)).encode(), LOG.verifier)
    other = Checkpoint("penstock.example/other", 0, EMPTY)
    with pytest.raises(BadNote, match="other"):
        checkpoint.verified(other.signed(LOG), LOG.verifier)


@pytest.mark.parametrize(
    "text",
    [
        "a\n01\n" + "A" * 43 + "=\n",
        "a\n-1\n" + "A" * 43 + "=\n",
        "a\n1\nAAAA\n",
        "a\n1\n",
        "\n1\n" + "A" * 43 + "=\n",
        "a\n1\n" + "A" * 43 + "=\n\nx\n",
    ],
)
def test_what_is_no_checkpoint(text: str) -> None:
    with pytest.raises(BadNote):
        checkpoint.read(text)


def test_a_flood_of_signatures_is_not_read() -> None:
    parsed = note.parse(SIGNED)
    with pytest.raises(BadNote):
        note.parse(Note(parsed.text, parsed.signatures * 65).encode())
    with pytest.raises(BadNote):
        note.parse(b"x" * (note.LONGEST + 1))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_note_or_refused(data: bytes) -> None:
    try:
        parsed = note.parse(data)
    except BadNote:
        return
    assert parsed.encode() == data


@given(st.integers(0, len(SIGNED) - 1), st.integers(1, 255))
def test_no_changed_byte_is_accepted(at: int, by: int) -> None:
    changed = bytearray(SIGNED)
    changed[at] ^= by
    with contextlib.suppress(BadNote):
        assert not note.verifier(PETER).accepts(note.parse(bytes(changed)))
