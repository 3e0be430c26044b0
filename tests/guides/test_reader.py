"""The reader of the guides notices what is not true: else following them would show nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.guides.page import Block, block_in
from tests.guides.reader import Reader


def block(first: str, text: str = "") -> Block:
    return block_in("page.md", f"before\n\n```{first}\n{text}\n```\n")


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    (tmp_path / "empty").mkdir()
    return Reader(tmp_path / "empty")


@pytest.mark.parametrize("first", ["", "sh later", "sh gpu fails", "sh to=x", "yaml", "toml"])
def test_a_block_that_nobody_would_run_is_an_error(first: str) -> None:
    with pytest.raises(AssertionError, match=r"page\.md:3"):
        block(first)


@pytest.mark.parametrize(
    ("first", "text"),
    [
        ("sh", "false"),
        ("sh", "false | true"),
        ("sh", "echo $NOBODY_SET_THIS"),
        ("sh fails", "true"),
        ("python", "1 / 0"),
    ],
)
def test_a_command_that_does_not_do_what_is_said_is_an_error(reader: Reader, first: str, text: str) -> None:
    with reader, pytest.raises(AssertionError, match=r"page\.md:3"):
        reader.follow(block(first, text))


def test_what_is_shown_must_have_been_printed_in_that_order(reader: Reader) -> None:
    with reader:
        reader.follow(block("sh", "echo one 1; echo two 2"))
        reader.follow(block("text", "one …\ntwo"))
        with pytest.raises(AssertionError, match="promises «one»"):
            reader.follow(block("text", "two\none"))


def test_names_and_folders_stay_from_block_to_block_and_ports_are_free_ones(reader: Reader) -> None:
    with reader:
        reader.follow(block("sh", "export WHERE=http://127.0.0.1:8001; mkdir below; cd below"))
        reader.follow(block("text file=here.txt", "8001 80010"))
        reader.follow(block("sh", 'echo "$WHERE"; cat here.txt'))
        reader.follow(block("text", "http://127.0.0.1:8001"))
    assert (reader.folder / "below" / "here.txt").read_text() == f"{reader.ports['8001']} 80010\n"
    assert ":8001\n" not in reader.printed


def test_what_a_block_leaves_running_is_ended(reader: Reader) -> None:
    with reader:
        reader.follow(block("sh", "sleep 600 > /dev/null & echo $! > pid"))
        number = (reader.folder / "pid").read_text().strip()
        assert Path("/proc", number).exists()
    state = Path("/proc", number, "stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"
