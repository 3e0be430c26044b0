"""W12: computing on encrypted data is not fast. A claim, found in documents."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from penstock.rules.claims import sentences
from penstock.rules.finding import Finding
from penstock.rules.material import Material
from penstock.rules.rule import Rule, finding

ENCRYPTED: Final = re.compile(
    r"(?i)\b(?:homomorphic\w*|HE-LoRA|HE|encrypted (?:LoRA|inference|computation)|privacy-preserving|confidential)\b"
)
FAST: Final = re.compile(
    r"(?i)\bhigh(?:er)?[- ]throughput\b|\b(?:full|native|same) (?:speed|throughput)\b|\bwithout (?:loss|overhead)\b"
)


def look(material: Material) -> Iterator[Finding]:
    for document in material.documents:
        for sentence in sentences(document):
            if ENCRYPTED.search(sentence.text) and FAST.search(sentence.text):
                yield finding(
                    "W12",
                    "high throughput is claimed for computing on encrypted data: a published Llama-3-8B under full homomorphic encryption takes seconds for one token",
                    "say what a benchmark of this system measured, and beside it plain LoRA in the same run",
                    sentence.at,
                    claim=True,
                )


RULE = Rule(
    row="W12",
    title="high throughput claimed for encrypted computation",
    today="encrypted Llama-3-8B is published at 9.69 s per token; encrypting LoRA alone costs less, and still orders of magnitude",
    reads="sentences of documents",
    look=look,
    claim=True,
)
