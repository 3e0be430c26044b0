"""From the spool into the log: each request once, whatever is torn, cut, repeated or full."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import msgspec
import pytest
from tests.receipts.logs import SIGNER, closed, lines, logged, opened, say, writing

from penstock.errors import BadLog
from penstock.receipts import keys, proof, receipt, spool
from penstock.receipts import verify as verifying
from penstock.receipts.export import export
from penstock.receipts.folder import CHECKPOINT, Folder
from penstock.receipts.log import Log
from penstock.receipts.receipt import LOST
from penstock.receipts.spool import encode
from penstock.receipts.store import Store
from penstock.receipts.tiles import path
from penstock.receipts.verify import Trust
from penstock.receipts.writer import LOG, SPOOL, locked

TRUST = Trust(SIGNER.verifier)


def ids(place: Path) -> list[str]:
    store = Store(place)
    try:
        return [receipt.read(one.data).id for one in store.all()]
    finally:
        store.close()


@pytest.mark.parametrize("count", [1, 255, 256, 257, 700])
def test_every_request_is_an_entry(tmp_path: Path, count: int) -> None:
    logged(tmp_path, count)
    assert ids(tmp_path) == [f"req-{number}" for number in range(count)]
    assert verifying.verify(tmp_path / LOG, TRUST).good


def test_a_log_grows_by_any_steps(tmp_path: Path) -> None:
    """Partial tiles of every checkpoint are there, and those whose tile is full are swept away."""
    held = say(tmp_path, b"")
    with writing(tmp_path) as writer:
        done = 0
        for more in (1, 1, 253, 1, 1, 300, 7, 500):
            os.write(held, lines(done, done + more))
            done += more
            assert writer.step().receipts == more
            assert verifying.verify(tmp_path / LOG, TRUST).good
    os.close(held)
    assert not list((tmp_path / LOG / "tile" / "0").glob("000.p/*"))
    assert (tmp_path / LOG / path(0, 4, done % 256)).exists()


def test_a_request_that_only_began_is_lost_when_its_process_is_gone(tmp_path: Path) -> None:
    held = say(tmp_path, lines(0, 3) + encode(opened(3)) + b"\n")
    with writing(tmp_path) as writer:
        assert writer.step().receipts == 3
        assert writer.step().receipts == 0  # it may still end
        os.close(held)
        step = writer.step()
        assert (step.receipts, step.lost) == (1, 1)
        assert not spool.waiting(tmp_path / SPOOL)
        found = receipt.read(next(writer.store.all(begin=3)).data)
        assert (found.id, found.finish, found.outcome) == ("req-3", LOST, LOST)
        assert writer.step().receipts == 0


def test_one_that_ends_much_later_is_no_lost_one(tmp_path: Path) -> None:
    held = say(tmp_path, encode(opened(0)) + b"\n")
    with writing(tmp_path) as writer:
        assert writer.step().receipts == 0
    with writing(tmp_path) as writer:
        os.write(held, encode(closed(0)) + b"\n")
        os.close(held)
        assert writer.step().lost == 0
        assert ids(tmp_path) == ["req-0"]


def test_two_requests_of_one_id_have_two_receipts(tmp_path: Path) -> None:
    twice = [one(number, id="same", tenant="acme") for number in (0, 1) for one in (opened, closed)]
    os.close(say(tmp_path, b"".join(encode(one) + b"\n" for one in twice)))
    with writing(tmp_path) as writer:
        writer.step()
        assert ids(tmp_path) == ["same", "same"]
        newest = writer.store.find("same", "acme")
        assert newest is not None
        assert newest.place == 1


@pytest.mark.parametrize("cut", [1, 40, 150])
def test_torn_lines_are_no_receipts_and_harm_no_others(tmp_path: Path, cut: int) -> None:
    """A full disk cut a line, and a power cut the last one."""
    text = encode(closed(0))[:-cut] + b"\n" + lines(1, 3) + b"\x00\x00\x00\n" + encode(closed(3))[:-cut]
    os.close(say(tmp_path, text))
    with writing(tmp_path) as writer:
        step = writer.step()
        assert (step.receipts, step.torn) == (2, 3)
        assert ids(tmp_path) == ["req-1", "req-2"]


def test_a_half_written_line_waits_for_its_rest(tmp_path: Path) -> None:
    line = encode(closed(0)) + b"\n"
    held = say(tmp_path, line[:50])
    with writing(tmp_path) as writer:
        assert writer.step().receipts == 0
        os.write(held, line[50:])
        assert writer.step().receipts == 1
    os.close(held)


def test_the_log_catches_up_with_the_store(tmp_path: Path) -> None:
    """Killed after the transaction and before the log: nothing is lost, nothing is there twice."""
    logged(tmp_path, 300)
    shutil.copytree(tmp_path / LOG, tmp_path / "before")
    held = say(tmp_path, lines(300, 700), "0002")
    with writing(tmp_path) as writer:
        writer.step()
    shutil.rmtree(tmp_path / LOG)
    (tmp_path / "before").rename(tmp_path / LOG)
    with writing(tmp_path) as writer:
        assert writer.size == 700
        assert writer.step().receipts == 0
    os.close(held)
    assert verifying.verify(tmp_path / LOG, TRUST).good


def test_a_torn_tail_mends_itself(tmp_path: Path) -> None:
    """Killed while tiles were written: what is beyond the checkpoint was never published."""
    logged(tmp_path, 300)
    for name in (path(0, 1, 100), path("entries", 1), path(1, 0, 2)):
        (tmp_path / LOG / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / LOG / name).write_bytes(b"torn")
    os.close(say(tmp_path, lines(300, 600), "0002"))
    with writing(tmp_path) as writer:
        writer.step()
    assert verifying.verify(tmp_path / LOG, TRUST).good


def test_an_older_store_does_not_fork_the_log(tmp_path: Path) -> None:
    logged(tmp_path, 10)
    base = sqlite3.connect(tmp_path / "receipts.db")
    base.execute("DELETE FROM receipt WHERE place >= 5")
    base.commit()
    base.close()
    with pytest.raises(BadLog, match="older copy"), writing(tmp_path):
        pass


def test_a_deleted_checkpoint_begins_no_second_log(tmp_path: Path) -> None:
    logged(tmp_path, 300)
    (tmp_path / LOG / CHECKPOINT).unlink()
    with pytest.raises(BadLog, match="no checkpoint"):
        Log(tmp_path / LOG, SIGNER)


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    first = locked(tmp_path)
    assert first is not None
    assert locked(tmp_path) is None
    os.close(first)
    again = locked(tmp_path)
    assert again is not None
    os.close(again)


def test_erasing_a_tenant_leaves_the_tree(tmp_path: Path) -> None:
    """X8, H10: receipts, salts and bodies go, the tree verifies, and the others can still be proved."""
    logged(tmp_path, 300)
    secret = b"req-3"  # of tenant acme
    store = Store(tmp_path, write=True)
    assert store.erase("acme") == 100
    store.close()
    assert all(secret + b'"' not in one.read_bytes() for one in tmp_path.glob("receipts.db*"))
    with writing(tmp_path) as writer:
        assert writer.store.find("req-3") is None
        export(writer.store, tmp_path / LOG, SIGNER.verifier, tmp_path / "out", None)
        kept = writer.store.find("req-4")
        assert kept is not None
        head, tree = proof.head_of(tmp_path / LOG, SIGNER.verifier)
        assert proof.verify(proof.make(kept, tree, head), SIGNER.verifier)[1] == 4
    report = verifying.verify(tmp_path / "out", TRUST)
    assert report.good
    assert report.receipts == 200


def test_old_receipts_go_by_whole_tiles(tmp_path: Path) -> None:
    logged(tmp_path, 600)
    with writing(tmp_path) as writer:
        newest = 1_763_762_725_000_000 + 599
        assert writer.store.erase_before(newest, 256) == 512
        assert writer.store.erase_before(newest, 256) == 0
        assert next(one.place for one in writer.store.all()) == 512
        assert writer.size == 600
    assert verifying.verify(tmp_path / LOG, TRUST).good


def test_the_key_is_made_once_and_kept(tmp_path: Path) -> None:
    made = keys.signer(tmp_path, "", "penstock.example/log")
    assert keys.signer(tmp_path, "", "ignored").verifier == made.verifier == keys.public(tmp_path)
    assert (tmp_path / keys.SECRET).stat().st_mode & 0o777 == 0o600
    (tmp_path / keys.SECRET).chmod(0o644)
    with pytest.raises(Exception, match="others may read"):
        keys.signer(tmp_path, "", "ignored")
    (tmp_path / keys.SECRET).unlink()
    with pytest.raises(Exception, match="is gone"):
        keys.signer(tmp_path, "", "ignored")


def test_a_proof_of_one_receipt_travels_alone(tmp_path: Path) -> None:
    logged(tmp_path, 300)
    with writing(tmp_path) as writer:
        kept = writer.store.find("req-7", "zebra")
        assert kept is not None
        assert writer.store.find("req-7", "acme") is None
    head, tree = proof.head_of(tmp_path / LOG, SIGNER.verifier)
    assert isinstance(tree, Folder)
    proven = proof.decode(proof.encode(proof.make(kept, tree, head)))
    assert proof.verify(proven, SIGNER.verifier)[0].id == "req-7"
    forged = msgspec.structs.replace(proven, receipt=msgspec.Raw(bytes(proven.receipt).replace(b"req-7", b"req-8")))
    with pytest.raises(BadLog, match="not entry 7"):
        proof.verify(forged, SIGNER.verifier)
    moved = msgspec.structs.replace(proven, proof=proven.proof.replace("index 7", "index 8"))
    with pytest.raises(BadLog):
        proof.verify(moved, SIGNER.verifier)
