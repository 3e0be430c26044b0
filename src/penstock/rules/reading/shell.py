"""Shell scripts as lists of simple commands with their lines. No shell: loops, conditions and functions are read through.

Any text gives commands; what no shell would take ends where the text ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from penstock.rules.material import Command, Script, Setting, Word
from penstock.rules.reading.text import Text

OPERATORS: Final = (";;", "&&", "||", "|&", ";", "&", "|", "(", ")")
REDIRECTS: Final = ("<<<", "<<-", "<<", "&>>", "&>", ">>", ">|", ">&", "<&", ">", "<")
RESERVED: Final = frozenset({"if", "then", "elif", "else", "fi", "do", "done", "while", "until", "!", "{", "}", "time"})
MOST: Final = 20_000
"""Commands of one script that are read."""
REMEMBERED: Final = 200
"""Assignments before a command that count for it."""
DECLARERS: Final = frozenset({"export", "declare", "local", "readonly", "typeset"})
ASSIGNMENT: Final = re.compile(r"([A-Za-z_]\w*)\+?=(.*)", re.DOTALL)
_HEREDOC = re.compile(r"<<-?\s*(['\"]?)([A-Za-z_]\w*)\1")
_CLOSING = {"(": ")", "{": "}"}


class _Token(NamedTuple):
    text: str
    line: int
    kind: str
    """word, end (of a command) or redirect."""
    quoted: bool = False


def script(text: Text) -> Script:
    """The whole file."""
    commands, settings = _commands(text)
    lines = tuple(text.at(text.first + index) for index, line in enumerate(text.lines) if line.strip())
    return Script(name=text.name, commands=commands, settings=settings, lines=lines)


def words(text: Text) -> tuple[Word, ...]:
    """The words of a single command, as in a compose file's `command: vllm serve …`."""
    return tuple(Word(text=token.text, at=text.at(token.line)) for token in _tokens(text) if token.kind == "word")


def _commands(text: Text) -> tuple[tuple[Command, ...], tuple[Setting, ...]]:
    commands: list[Command] = []
    settings: list[Setting] = []
    known: tuple[Setting, ...] = ()
    for tokens in _statements(_tokens(text)):
        command = _command(text, tokens, known)
        assigned = command.settings
        if command.words and command.words[0].text in DECLARERS:
            assigned = tuple(_assignments(command.words[1:]))
        if not command.words or command.words[0].text in DECLARERS:
            settings += assigned
            known = tuple(settings[-REMEMBERED:])
        else:
            commands.append(command)
        if len(commands) == MOST:
            break
    return tuple(commands), tuple(settings)


def _statements(tokens: Iterator[_Token]) -> Iterator[list[_Token]]:
    """Tokens between operators and ends of line."""
    statement: list[_Token] = []
    for token in tokens:
        if token.kind == "end":
            if statement:
                yield statement
            statement = []
        else:
            statement.append(token)
    if statement:
        yield statement


def _command(text: Text, tokens: list[_Token], known: tuple[Setting, ...]) -> Command:
    found: list[Word] = []
    settings: list[Setting] = []
    redirected: list[Word] = []
    after_redirect = False
    for token in tokens:
        word = Word(text=token.text, at=text.at(token.line), first=token.line if "\n" in token.text else 0)
        if token.kind == "redirect":
            after_redirect = True
        elif after_redirect:
            redirected.append(word)
            after_redirect = False
        elif not found and (assigned := ASSIGNMENT.fullmatch(token.text)):
            settings.append(Setting(name=assigned[1], value=assigned[2], at=word.at))
        elif found or token.quoted or token.text not in RESERVED:
            found.append(word)
    return Command(
        words=tuple(found),
        settings=tuple(settings),
        known=known,
        redirected=tuple(redirected),
        at=text.at(tokens[0].line),
    )


def _assignments(found: tuple[Word, ...]) -> Iterator[Setting]:
    for word in found:
        if assigned := ASSIGNMENT.fullmatch(word.text):
            yield Setting(name=assigned[1], value=assigned[2], at=word.at)


def _tokens(text: Text) -> Iterator[_Token]:
    return _Lexer(_without_heredocs(text.text), text.first).tokens()


def _without_heredocs(text: str) -> str:
    """The same number of lines, those of here-documents empty: they are some other program's text."""
    kept: list[str] = []
    until = ""
    for line in text.splitlines():
        if until:
            until = "" if line.strip() == until else until
            kept.append("")
            continue
        kept.append(line)
        opened = _HEREDOC.search(line)
        until = opened[2] if opened and not line.lstrip().startswith("#") else ""
    return "\n".join(kept)


class _Lexer:
    """One pass over the characters."""

    def __init__(self, text: str, line: int) -> None:
        self.text = text
        self.place = 0
        self.line = line

    def tokens(self) -> Iterator[_Token]:
        while self.place < len(self.text):
            char = self.text[self.place]
            if char == "\n":
                yield _Token("", self.line, "end")
                self._step()
            elif char.isspace():
                self._step()
            elif self.text.startswith("\\\n", self.place):
                self._step(2)
            elif char == "#":
                self._skip_comment()
            elif redirect := self._one_of(REDIRECTS):
                yield _Token(redirect, self.line, "redirect")
                self._step(len(redirect))
            elif operator := self._one_of(OPERATORS):
                yield _Token(operator, self.line, "end")
                self._step(len(operator))
            else:
                yield self._word()

    def _one_of(self, signs: tuple[str, ...]) -> str:
        return next((sign for sign in signs if self.text.startswith(sign, self.place)), "")

    def _step(self, count: int = 1) -> None:
        self.line += self.text.count("\n", self.place, self.place + count)
        self.place += count

    def _skip_comment(self) -> None:
        end = self.text.find("\n", self.place)
        self.place = len(self.text) if end < 0 else end

    def _word(self) -> _Token:
        line, quoted, parts = self.line, False, list[str]()
        while self.place < len(self.text):
            char = self.text[self.place]
            if char in "'\"":
                parts.append(self._quotes(char))
                quoted = True
            elif char == "\\":
                parts.append(self.text[self.place + 1 : self.place + 2].replace("\n", ""))
                self._step(2)
            elif char == "$" and self.text[self.place + 1 : self.place + 2] in _CLOSING:
                parts.append(self._nested())
            elif char == "`":
                parts.append("`" + self._quotes("`") + "`")
            elif char.isspace() or char in ";&|()<>":
                break
            else:
                parts.append(char)
                self._step()
        return _Token("".join(parts), line, "word", quoted)

    def _quotes(self, mark: str) -> str:
        """What stands between two quotes; only in single ones is a backslash nothing special."""
        self._step()
        parts: list[str] = []
        while self.place < len(self.text) and self.text[self.place] != mark:
            char = self.text[self.place]
            if char == "\\" and mark != "'":
                following = self.text[self.place + 1 : self.place + 2]
                parts.append(following.replace("\n", "") if following in '"\\$`\n' else "\\" + following)
                self._step(2)
            else:
                parts.append(char)
                self._step()
        self._step()
        return "".join(parts)

    def _nested(self) -> str:
        """`$(…)` or `${…}` as it stands."""
        opening = self.text[self.place + 1]
        closing, depth, begin = _CLOSING[opening], 0, self.place
        self._step()
        while self.place < len(self.text):
            char = self.text[self.place]
            depth += (char == opening) - (char == closing)
            self._step()
            if depth == 0:
                break
        return self.text[begin : self.place]
