"""`penstock chat`: streamed answers, a memory, and a Ctrl-C that stops the answer and not the program."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cli.console import LIMIT, SCRIPT, clean, run


@contextmanager
def scripted(**script: object) -> Iterator[str]:
    """The URL of an engine that answers as the script says."""
    command = [sys.executable, "-m", "penstock.faults.engine", "--model", "m", "--script", json.dumps(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["url"]
        finally:
            process.terminate()


class Terminal:
    """A chat on a terminal of its own."""

    def __init__(self, screen: int) -> None:
        self._screen = screen
        self._seen = ""

    def type(self, text: str) -> None:
        os.write(self._screen, text.encode())

    def until(self, text: str) -> str:
        """What the screen showed up to this text, which is taken off it."""
        deadline = time.monotonic() + LIMIT
        while text not in self._seen:
            assert self._shown_within(deadline - time.monotonic()), f"{text!r} did not appear: {self._seen!r}"
        before, _, self._seen = self._seen.partition(text)
        return before

    def interrupt_until(self, text: str) -> None:
        """Ctrl-C, as often as a person would press it.

        Python looks at a signal before it waits for input; one that comes in the few microseconds between the two is
        seen with the next key alone.
        """
        deadline = time.monotonic() + LIMIT
        while text not in self._seen:
            assert time.monotonic() < deadline, f"{text!r} did not appear: {self._seen!r}"
            self.type("\x03")
            while text not in self._seen and self._shown_within(1.0):
                pass
        self.until(text)

    def _shown_within(self, seconds: float) -> bool:
        """Whether more came in time; it is kept."""
        readable, _, _ = select.select([self._screen], [], [], max(0.0, seconds))
        if readable:
            self._seen += os.read(self._screen, 4096).decode()
        return bool(readable)


@contextmanager
def on_a_terminal(folder: Path, *arguments: str) -> Iterator[tuple[Terminal, subprocess.Popen[bytes]]]:
    screen, keyboard = pty.openpty()
    process = subprocess.Popen(
        [SCRIPT, *arguments],
        cwd=folder,
        env=clean(),
        stdin=keyboard,
        stdout=keyboard,
        stderr=keyboard,
        start_new_session=True,
        preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),  # noqa: PLW1509 - makes it the controlling terminal
    )
    os.close(keyboard)
    with process:
        try:
            yield Terminal(screen), process
        finally:
            if process.poll() is None:
                process.kill()
            os.close(screen)


def test_questions_from_a_pipe_are_answered_in_order(tmp_path: Path, guide_url: str) -> None:
    done = run(
        tmp_path, "chat", "--url", guide_url, given="What is your name?\n/clear\nAre you alive?\n/quit\nHello!\n"
    )
    assert done.code == 0, done.err
    assert done.out.splitlines() == [
        "My name is guide. I am the bundled model of Penstock.",
        "No. I am a few million numbers in a file.",
    ]


def test_the_end_of_input_ends_it(tmp_path: Path, guide_url: str) -> None:
    assert run(tmp_path, "chat", "guide", "--url", guide_url).code == 0


def test_a_model_that_is_not_served_is_told_and_the_talk_goes_on(tmp_path: Path, guide_url: str) -> None:
    """X12."""
    done = run(tmp_path, "chat", "guides", "--url", guide_url, given="Hello!\n/model guide\nAre you alive?\n/help\n")
    assert done.code == 1
    assert "404" in done.err
    assert "guide" in done.err
    assert done.out.splitlines() == ["No. I am a few million numbers in a file."], done.err
    assert "/quit leaves" in done.err


def test_a_stream_that_breaks_off_is_an_error_and_no_answer(tmp_path: Path) -> None:
    with scripted(tokens=["one ", "two ", "three "], cut_after=2) as url:
        done = run(tmp_path, "chat", "--url", url, given="Count.\n")
    assert done.code == 1
    assert done.out == "one two \n"
    assert "error: Reading" in done.err


def test_an_error_inside_a_stream_is_told(tmp_path: Path) -> None:
    with scripted(tokens=["one ", "two "], error_after=1, message="out of memory") as url:
        done = run(tmp_path, "chat", "--url", url, given="Count.\n")
    assert "out of memory" in done.err


def test_what_a_model_thinks_is_not_part_of_its_answer(tmp_path: Path) -> None:
    with scripted(reasoning=["hm ", "hm "], tokens=["Four."]) as url:
        done = run(tmp_path, "chat", "--url", url, given="Two and two?\n")
    assert done.out == "Four.\n"
    assert "hm hm" in done.err


def test_ctrl_c_stops_the_answer_and_not_the_program(tmp_path: Path) -> None:
    with (
        scripted(tokens=["one ", "two ", "three "], stall_after=2) as url,
        on_a_terminal(tmp_path, "chat", "--url", url) as (terminal, process),
    ):
        terminal.until("> ")
        terminal.type("Count.\n")
        terminal.until("two ")
        terminal.interrupt_until("(stopped)")
        terminal.until("> ")
        terminal.interrupt_until("/quit leaves")
        terminal.type("/quit\n")
        assert process.wait(LIMIT) == 0
