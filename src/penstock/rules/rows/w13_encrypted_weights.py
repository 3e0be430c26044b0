"""W13: base weights that a GPU computes with are not encrypted. A claim, found in documents."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from penstock.rules.claims import sentences
from penstock.rules.finding import Finding
from penstock.rules.material import Material
from penstock.rules.rule import Rule, finding

CLAIM: Final = re.compile(
    r"(?i)\b(?:model|base|all)?\s*weights\b[^.]{0,40}\b(?:(?:remain|stay|kept|always)\b[^.]{0,20}\bencrypted"
    r"|encrypted\b[^.]{0,20}\b(?:during|throughout|at all times|while))"
)


def look(material: Material) -> Iterator[Finding]:
    for document in material.documents:
        for sentence in sentences(document):
            if CLAIM.search(sentence.text):
                yield finding(
                    "W13",
                    "model weights are claimed to remain encrypted: the base model is computed with in plain, and a host that sees what goes into an"
                    " adapter and what comes out of it can solve for the adapter",
                    "say which weights, against whom, and what that party sees; an adapter is protected only from a host that never sees its plain input or output",
                    sentence.at,
                    claim=True,
                )


RULE = Rule(
    row="W13",
    title="«model weights remain encrypted»",
    today="base weights are plain; an encrypted LoRA protects only from a host that never sees its plain input or its plain output",
    reads="sentences of documents",
    look=look,
    claim=True,
)
