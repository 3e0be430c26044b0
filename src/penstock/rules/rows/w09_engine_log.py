"""W9: what vLLM logs of requests is no audit trail, and the old option to silence it ends the server."""

from __future__ import annotations

import re
from collections.abc import Iterator

from penstock.rules.claims import sentences
from penstock.rules.engine import launches
from penstock.rules.finding import Evidence, Finding
from penstock.rules.material import Material
from penstock.rules.rule import Rule, finding

GONE = "--disable-log-requests"
AUDIT = re.compile(r"(?i)\baudit")
MEND = "keep the trail at the gateway, where the caller is known; the engine's log is for finding faults"
NEAR = 8
"""Lines between an option and the comment that says what it is for."""
_CLAIM = (re.compile(r"(?i)\bvllm\b"), re.compile(r"(?i)\blogg?(?:ing|s)?\b"), AUDIT)


def look(material: Material) -> Iterator[Finding]:
    for launch in launches(material):
        gone = launch.flag(GONE)
        if gone:
            yield finding(
                "W9",
                f"`{GONE}` no longer exists: the server ends with a usage error",
                "leave it out: requests are not logged unless --enable-log-requests asks for it",
                gone.at,
            )
        log = launch.flag("--enable-log-requests", "--enable-log-outputs")
        meant = [one for one in material.comments if log and _near(one, log.at) and AUDIT.search(one.text)]
        if log and meant:
            yield finding(
                "W9",
                f"`{log.name}` as an audit trail: prompts appear at DEBUG only, answers need --enable-log-outputs, and nothing says who asked",
                MEND,
                log.at,
                *meant,
            )
    for document in material.documents:
        for sentence in sentences(document):
            if all(part.search(sentence.text) for part in _CLAIM):
                wrong = "logging at the vLLM layer is named as the source of an audit trail"
                yield finding("W9", wrong, MEND, sentence.at, claim=True)


def _near(comment: Evidence, at: Evidence) -> bool:
    return comment.file == at.file and abs(comment.line - at.line) <= NEAR


RULE = Rule(
    row="W9",
    title="request logging of vLLM's as an audit trail; `--disable-log-requests`",
    today="`--enable-log-requests` is off by default and shows prompts at DEBUG only; the trail belongs to the gateway",
    reads="compose, Kubernetes, Dockerfile, shell, lists of options in values files; sentences of documents",
    look=look,
)
