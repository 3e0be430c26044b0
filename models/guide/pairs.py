"""The guide's questions and answers, read from pairs.yaml.

Shared by train.py and evaluate.py and importable by tests; needs PyYAML and nothing else. No training and no HTTP in here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import yaml

PAIRS_FILE = Path(__file__).parent / "pairs.yaml"


@dataclass(frozen=True, slots=True)
class Pair:
    """One question and the exact answer that the guide gives to it at temperature 0."""

    group: str
    question: str
    answer: str


def load_pairs(path: Path = PAIRS_FILE) -> list[Pair]:
    """Every pair in the order of the file. Raises ValueError when two pairs ask the same question."""
    groups = cast("dict[str, list[dict[str, str]]]", yaml.safe_load(path.read_text(encoding="utf-8")))
    pairs = [Pair(group, entry["question"], entry["answer"]) for group, entries in groups.items() for entry in entries]
    seen: set[str] = set()
    for pair in pairs:
        if pair.question in seen:
            message = f"reading {path}: the question {pair.question!r} stands there twice; remove one"
            raise ValueError(message)
        seen.add(pair.question)
    return pairs
