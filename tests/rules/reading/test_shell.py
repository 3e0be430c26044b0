"""Shell scripts as commands with their lines."""

from __future__ import annotations

import shlex

from hypothesis import example, given
from hypothesis import strategies as st

from penstock.rules.material import Command
from penstock.rules.reading.shell import script, words
from penstock.rules.reading.text import Text


def commands(text: str) -> list[list[str]]:
    return [[word.text for word in command.words] for command in script(Text("s.sh", text)).commands]


def test_operators_and_lines_end_a_command() -> None:
    assert commands("a 1; b 2 && c 3 || d | e & f\n(g h)\n") == [
        ["a", "1"],
        ["b", "2"],
        ["c", "3"],
        ["d"],
        ["e"],
        ["f"],
        ["g", "h"],
    ]


def test_conditions_and_loops_are_read_through() -> None:
    assert commands("if a; then b; else c; fi\nwhile d; do e; done\n! f\n") == [
        ["a"],
        ["b"],
        ["c"],
        ["d"],
        ["e"],
        ["f"],
    ]


def test_quotes_comments_and_continued_lines() -> None:
    text = 'run \'a b\' "c # d" e#f \\\n  --flag="x"y # not this\n# nor this\n'
    assert commands(text) == [["run", "a b", "c # d", "e#f", "--flag=xy"]]


def test_a_word_knows_its_line() -> None:
    (command,) = script(Text("s.sh", "\n\nvllm serve \\\n  --port \\\n  1\n")).commands
    assert [(word.text, word.at.line) for word in command.words] == [("vllm", 3), ("serve", 3), ("--port", 4), ("1", 5)]
    assert command.words[2].at.text == "--port \\"


def test_here_documents_are_not_commands() -> None:
    assert commands("cat > x <<EOF\nvllm openai\nEOF\necho <<-'END' done\n\tvllm\n\tEND\nlast\n") == [
        ["cat"],
        ["echo", "done"],
        ["last"],
    ]


def test_settings() -> None:
    found = script(Text("s.sh", "A=1\nexport B='two words' C=$A\nD=4 run\nE=${A:-x}\n"))
    assert [(one.name, one.value) for one in found.settings] == [
        ("A", "1"),
        ("B", "two words"),
        ("C", "$A"),
        ("E", "${A:-x}"),
    ]
    (run,) = found.commands
    assert [(one.name, one.value) for one in run.settings] == [("D", "4")]
    assert [one.name for one in run.known] == ["A", "B", "C"]


def test_redirects_are_no_arguments() -> None:
    (command,) = script(Text("s.sh", "pip install vllm>=0.4.0 2>&1 >log\n")).commands
    assert [word.text for word in command.words] == ["pip", "install", "vllm", "2"]
    assert [word.text for word in command.redirected] == ["=0.4.0", "1", "log"]


def test_what_is_nested_stays_one_word() -> None:
    assert commands('run $(a; b) ${X:-a b} `d; e` "$(f g)"\n') == [["run", "$(a; b)", "${X:-a b}", "`d; e`", "$(f g)"]]


@given(
    st.lists(
        st.text(
            st.characters(codec="utf-8", exclude_characters="\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029\x00"), max_size=20
        ),
        min_size=1,
        max_size=6,
    )
)
def test_quoted_words_come_back(given_words: list[str]) -> None:
    """Whatever shlex quotes, we read back, as shlex does."""
    found = words(Text("s.sh", shlex.join(["x", *given_words])))
    assert [word.text for word in found] == ["x", *given_words]


@given(st.text())
@example("'")
@example('"\\')
@example("$(")
@example("<<A\n")
@example("\\")
def test_any_text_ends(text: str) -> None:
    found: tuple[Command, ...] = script(Text("s.sh", text)).commands
    assert all(command.words or command.settings or command.redirected for command in found)
