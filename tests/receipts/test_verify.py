"""Every way to change a log is found, and the first bad entry named, with the folder and the public key alone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.receipts.logs import SIGNER, lines, logged, say, writing
from tests.receipts.vectors import WITNESS

from penstock.errors import BadLog
from penstock.receipts import folder, merkle, note, tiles
from penstock.receipts import verify as verifying
from penstock.receipts.checkpoint import Checkpoint
from penstock.receipts.export import RECEIPTS, export
from penstock.receipts.folder import CHECKPOINT, Folder
from penstock.receipts.log import Log
from penstock.receipts.note import Note, Signer, parse
from penstock.receipts.store import Store
from penstock.receipts.tiles import WIDTH, path
from penstock.receipts.verify import Report, Trust
from penstock.receipts.writer import LOG

SIZE = 700
TRUST = Trust(SIGNER.verifier)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of a log of 700 entries, with all its receipts."""
    place = tmp_path_factory.mktemp("log")
    logged(place, SIZE)
    store = Store(place)
    export(store, place / LOG, SIGNER.verifier, place / "out", None)
    store.close()
    return place


@pytest.fixture
def out(exported: Path, tmp_path: Path) -> Path:
    shutil.copytree(exported / "out", tmp_path / "out")
    return tmp_path / "out"


def found(place: Path, *others: bytes, trust: Trust = TRUST) -> tuple[str, int | None]:
    """Kind and entry of the first finding."""
    first = verifying.verify(place, trust, others).first
    assert first is not None
    return first.kind, first.at


def rewrite(place: Path, change: Callable[[list[bytes]], list[bytes]]) -> Checkpoint:
    """All entries anew, with every tile above them: what somebody does who can compute hashes, but not sign."""
    tree = Folder(place, SIZE)
    entries = change([one for index in range(3) for one in tree.entries(index)])
    for name in ("tile", CHECKPOINT):
        target = place / name
        shutil.rmtree(target) if target.is_dir() else target.rename(place / "kept")
    log = Log(place, Signer("penstock.example/log", b"\x09" * 32))
    log.append(entries)
    log.publish()
    (place / "kept").rename(place / CHECKPOINT)
    return log.published


def test_what_was_not_touched_is_good(out: Path) -> None:
    report = verifying.verify(out, TRUST, [(out / CHECKPOINT).read_bytes()])
    assert (report.good, report.size, report.receipts) == (True, SIZE, SIZE)


@pytest.mark.parametrize("entry", [0, 1, 255, 256, 511, 512, 699])
def test_an_edited_byte_of_an_entry(out: Path, entry: int) -> None:
    index, at = divmod(entry, WIDTH)
    file = out / path("entries", index, min(WIDTH, SIZE - index * WIDTH))
    data = bytearray(file.read_bytes())
    data[at * tiles.RECORD + 20] ^= 1
    file.write_bytes(data)
    assert found(out) == ("entry", entry)


@pytest.mark.parametrize("entry", [0, 256, 699])
def test_an_edited_byte_of_a_tile(out: Path, entry: int) -> None:
    index, at = divmod(entry, WIDTH)
    file = out / path(0, index, min(WIDTH, SIZE - index * WIDTH))
    data = bytearray(file.read_bytes())
    data[at * 32] ^= 1
    file.write_bytes(data)
    assert found(out)[1] == index * WIDTH if entry < 512 else entry


def test_an_edited_tile_further_up(out: Path) -> None:
    file = out / path(1, 0, 2)
    data = bytearray(file.read_bytes())
    data[40] ^= 1
    file.write_bytes(data)
    assert found(out) == ("tile", 256)


def test_an_entry_edited_together_with_its_tile(out: Path) -> None:
    """The tile above it knows better, and the receipt says which entry."""
    bundle = out / path("entries", 1)
    data = bytearray(bundle.read_bytes())
    data[7 * tiles.RECORD + 5] ^= 1
    bundle.write_bytes(data)
    hashes = [merkle.leaf_hash(one) for one in tiles.entries_of(bytes(data), WIDTH, "")]
    (out / path(0, 1)).write_bytes(b"".join(hashes))
    assert {(one.kind, one.at) for one in verifying.verify(out, TRUST).findings} == {("receipt", 263), ("tile", 256)}
    (out / RECEIPTS).unlink()
    assert found(out) == ("tile", 256)


@pytest.mark.parametrize(
    ("change", "entry"),
    [
        (lambda entries: [*entries[:300], *entries[301:]], 300),
        (lambda entries: [*entries[:300], entries[301], entries[300], *entries[302:]], 300),
        (lambda entries: [*entries[:300], b"\x05" * 32, *entries[300:]], 300),
        (lambda entries: [*entries[:300], b"\x05" * 32, *entries[301:]], 300),
    ],
    ids=["deleted", "reordered", "inserted", "replaced"],
)
def test_entries_that_were_changed_with_all_that_is_above_them(
    out: Path, change: Callable[[list[bytes]], list[bytes]], entry: int
) -> None:
    old = Folder(out, 257)
    before = Checkpoint("penstock.example/log", 257, old.root()).signed(SIGNER)
    rewrite(out, change)
    report = verifying.verify(out, TRUST)
    assert not report.good
    assert report.first is not None
    assert report.first.at == entry
    (out / RECEIPTS).unlink()
    report = verifying.verify(out, TRUST, [before])
    assert not report.good
    assert report.first is not None
    # Nothing names the entry any more; the older checkpoint says from where on it can be.
    assert report.first.at in {257, 512, None}


def test_a_truncated_tail_shows_against_a_later_checkpoint(exported: Path, tmp_path: Path) -> None:
    """A log cut back to an own older checkpoint is a valid older log: only somebody who kept a later one can tell."""
    work = tmp_path / "work"
    logged(work, 300)
    shutil.copytree(work / LOG, tmp_path / "cut")
    os.close(say(work, lines(300, 500), "0002"))
    with writing(work) as writer:
        writer.step()
    later = (work / LOG / CHECKPOINT).read_bytes()
    assert verifying.verify(tmp_path / "cut", TRUST).good
    assert found(tmp_path / "cut", later) == ("truncated", 300)
    assert verifying.verify(work / LOG, TRUST, [(tmp_path / "cut" / CHECKPOINT).read_bytes()]).good
    assert exported.exists()


def test_a_tail_that_is_cut_below_its_checkpoint(out: Path) -> None:
    (out / path("entries", 2, SIZE - 2 * WIDTH)).unlink()
    assert found(out) == ("entry", 512)


def test_a_forked_log(out: Path, tmp_path: Path) -> None:
    """Two logs of one key, as many entries or fewer: whoever has a checkpoint of the other sees it."""
    other = Log(tmp_path / "fork", SIGNER)
    tree = Folder(out, SIZE)
    entries = [one for index in range(3) for one in tree.entries(index)]
    other.append([*entries[:400], b"\x06" * 32])
    older = other.publish()
    assert found(out, older.signed(SIGNER))[0] == "forked"
    other.append([b"\x06" * 32] * (SIZE - 401))
    assert found(out, other.publish().signed(SIGNER))[0] == "forked"


def test_receipts_that_were_changed_moved_or_made_up(out: Path) -> None:
    text = (out / RECEIPTS).read_bytes().splitlines(keepends=True)
    for change, entry in (
        ([*text[:5], text[5].replace(b'"status":200', b'"status":500'), *text[6:]], 5),
        ([*text[:5], text[6], text[5], *text[7:]], 5),
        ([*text[:5], text[5].replace(b'"place":5', b'"place":6'), *text[6:]], 6),
        ([*text[:5], text[5], text[5], *text[6:]], 5),
        ([*text, text[5].replace(b'"place":5', b'"place":5000')], 5000),
        ([*text[:5], text[5].replace(b'"salt":"', b'"salt":"zz'), *text[6:]], 5),
    ):
        (out / RECEIPTS).write_bytes(b"".join(change))
        assert found(out) == ("receipt", entry)
    (out / RECEIPTS).write_bytes(b"".join([*text[:5], b"no json\n", *text[5:]]))
    assert found(out)[0] == "receipt"
    (out / RECEIPTS).write_bytes(b"".join(text[::7]))
    assert verifying.verify(out, TRUST).receipts == 100


def test_another_key_or_a_replayed_checkpoint(out: Path) -> None:
    other = Signer("penstock.example/log", b"\x09" * 32)
    assert found(out, trust=Trust(other.verifier))[0] == "checkpoint"
    forged = Checkpoint("penstock.example/log", SIZE, b"\x01" * 32).signed(other)
    (out / CHECKPOINT).write_bytes(forged)
    assert found(out)[0] == "checkpoint"
    # an older one, put back: it verifies alone, and not beside the newer one
    newer = Checkpoint("penstock.example/log", SIZE, Folder(out, SIZE).root()).signed(SIGNER)
    (out / CHECKPOINT).write_bytes(Checkpoint("penstock.example/log", 512, Folder(out, 512).root()).signed(SIGNER))
    assert found(out, newer) == ("truncated", 512)


def test_witnesses_are_required_where_they_are_configured(out: Path) -> None:
    trust = Trust(SIGNER.verifier, (WITNESS.verifier,), 1)
    assert found(out, trust=trust)[0] == "checkpoint"
    parsed = parse((out / CHECKPOINT).read_bytes())
    stranger = Signer("witness.example/two", b"\x02" * 32, note.COSIGNATURE)
    (out / CHECKPOINT).write_bytes(Note(parsed.text, (*parsed.signatures, stranger.sign(parsed.text, 5))).encode())
    assert found(out, trust=trust)[0] == "checkpoint"
    (out / CHECKPOINT).write_bytes(Note(parsed.text, (*parsed.signatures, WITNESS.sign(parsed.text, 5))).encode())
    assert verifying.verify(out, trust).good


def test_a_link_out_of_the_folder_is_not_followed(out: Path, tmp_path: Path) -> None:
    """A copied folder is somebody else's: its names lead nowhere, and no file of it is read without a bound."""
    file = out / path("entries", 0)
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert found(out) == ("entry", 0)
    file.unlink()
    file.write_bytes(b"x" * (folder.LONGEST + 1))
    assert found(out) == ("entry", 0)
    os.mkfifo(out / "pipe")
    assert folder.read(out / "pipe") == b""
    with pytest.raises(BadLog):
        folder.read(out / "tile")


def test_every_finding_is_counted_and_their_number_is_bounded(out: Path) -> None:
    text = (out / RECEIPTS).read_bytes().replace(b'"status":200', b'"status":201')
    (out / RECEIPTS).write_bytes(text)
    report: Report = verifying.verify(out, TRUST)
    assert verifying.MOST <= len(report.findings) <= verifying.MOST + WIDTH
