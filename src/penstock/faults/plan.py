"""A scenario file: which script answers which request, in a form that is written by hand. Pure.

    requests:                 # one script a request, in the order they come
      - {status: 500}
      - {cut_after: 3, cut: fin}
      - {}                    # healthy
    then: {gap: 0.02}         # all further ones; healthy where not given

A file that is a list has `requests` alone. JSON is YAML.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from penstock.faults.script import HEALTHY, Script


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What becomes of the requests to one engine."""

    requests: tuple[Script, ...] = ()
    """Scripts of the first requests, one each."""
    then: Script = HEALTHY
    """The script of all further ones."""


def read(file: Path) -> Plan:
    """A plan from a file; `OSError` where there is none, `msgspec.MsgspecError` that names what is wrong in it."""
    document = msgspec.yaml.decode(file.read_bytes())
    return msgspec.convert({"requests": document} if isinstance(document, list) else document, Plan)
