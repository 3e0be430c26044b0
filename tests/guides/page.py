"""A guide as a list of blocks of code, each with what is to become of it. Pure; nothing is run here.

What becomes of a block stands behind the language in its first line, where no reader of the page sees it:

```sh            run in the reader's shell, exported names and all; it must succeed
```sh fails      run; it must end with a status that is not 0
```sh serve      run beside the rest until it prints that it serves; ends the one that was started before
```sh takeover   the same, and the one before must end by itself
```sh standins   run, in every guide, before its own blocks
```python        run as a program
```LANG file=F   saved as F
```LANG gpu      not run: needs a GPU, vLLM or docker. With file=F saved for the doctor, which reads all of them
```sh by=PATH    not run here: the test of this path does
```text          what the last block that was run prints; `…` stands for anything
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "guides"
GUIDES = sorted(path.name for path in FOLDER.glob("VLLM_*.md"))
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = "not run by our tests"
"""Words of the line before a block that needs what the tests have not."""
FATES = frozenset({"fails", "serve", "takeover", "standins", "gpu"})


class Block(NamedTuple):
    """One block of code of a guide."""

    page: str
    line: int
    language: str
    fate: str
    """One of FATES, or nothing."""
    file: str
    by: str
    text: str
    before: str
    """The last line above it that is not empty."""

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def name(self) -> str:
        """What it is called as a file."""
        return self.file or f"{self.page.removesuffix('.md')}-{self.line}.{self.language}"


def text_of(page: str) -> str:
    return (FOLDER / page).read_text(encoding="utf-8")


def blocks_of(page: str) -> list[Block]:
    """Every block, in order; AssertionError for one whose fate is unknown."""
    text = text_of(page)
    return [_block(page, text, found) for found in FENCE.finditer(text)]


def block_in(page: str, text: str) -> Block:
    """The first block of a text."""
    found = FENCE.search(text)
    assert found, text
    return _block(page, text, found)


def standins() -> list[Block]:
    """What starts the stand-ins for engines, in the guide that explains them."""
    return [
        block for block in blocks_of("VLLM_SETUP_GUIDE.md") if block.fate == "standins" or block.file == "ollama.yaml"
    ]


def _block(page: str, text: str, found: re.Match[str]) -> Block:
    line = text.count("\n", 0, found.start()) + 1
    language, *words = found[1].split() or [""]
    named = dict(word.split("=", 1) for word in words if "=" in word)
    fates = [word for word in words if "=" not in word]
    assert set(fates) <= FATES, f"{page}:{line}: {fates}"
    assert len(fates) <= 1, f"{page}:{line}: {fates}"
    assert named.keys() <= {"file", "by"}, f"{page}:{line}: {named}"
    assert named or language in {"sh", "python", "text"} or fates == ["gpu"], f"{page}:{line}: nobody would run it"
    above = [one for one in text[: found.start()].splitlines() if one.strip()]
    return Block(
        page=page,
        line=line,
        language=language,
        fate="".join(fates),
        file=named.get("file", ""),
        by=named.get("by", ""),
        text=found[2],
        before=above[-1] if above else "",
    )
