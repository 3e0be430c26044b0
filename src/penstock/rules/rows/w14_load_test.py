"""W14: `python -m vllm.benchmark` does not exist."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from penstock.rules.engine import commands
from penstock.rules.finding import Evidence, Finding
from penstock.rules.material import Material, Word
from penstock.rules.reading.flags import base, is_python, program
from penstock.rules.rule import Rule, finding

MEND = "vllm bench serve --backend openai-chat --num-prompts N --request-rate R --max-concurrency C …, or `penstock bench URL`"


def look(material: Material) -> Iterator[Finding]:
    for command in commands(material):
        for words in program(command.words):
            at = _module(words)
            if at:
                yield finding("W14", "there is no module `vllm.benchmark` to run", MEND, at, *_counts(words))
            elif base(words[0]) == "vllm" and len(words) > 1 and words[1].text == "bench":
                wrong = list(_counts(words))
                if wrong:
                    yield finding("W14", "`vllm bench` has no option --num-requests", MEND, *wrong)


def _module(words: tuple[Word, ...]) -> Evidence | None:
    if not is_python(words[0]):
        return None
    names = [word for before, word in pairwise(words) if before.text == "-m"]
    return next(
        (word.at for word in names if word.text.split(".")[:2] in (["vllm", "benchmark"], ["vllm", "bench"])), None
    )


def _counts(words: tuple[Word, ...]) -> Iterator[Evidence]:
    return (word.at for word in words if word.text.partition("=")[0] == "--num-requests")


RULE = Rule(
    row="W14",
    title="`python3 -m vllm.benchmark … --num-requests`",
    today="`vllm bench serve`, `--num-prompts`, `--request-rate`, `--max-concurrency`, `--backend openai-chat`",
    reads="shell, Dockerfile, blocks of documents",
    look=look,
)
