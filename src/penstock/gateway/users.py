"""Whom a caller asks for: the end user that an application names in headers, believed only of callers that may say so.

Open WebUI names its users this way. From anybody else the same headers are words that a stranger wrote: nobody reads them. They
never go on to an engine.
"""

from __future__ import annotations

from collections.abc import Mapping

HEADERS = (b"x-openwebui-user-id", b"x-openwebui-user-email", b"x-openwebui-user-name")
"""The first that is there names the user."""
LONGEST = 128


def end_user(headers: Mapping[bytes, bytes]) -> str:
    """Who asks behind the caller; empty where nobody is named. Printable, and short."""
    for name in HEADERS:
        found = headers.get(name)
        if found:
            said = found.decode("utf-8", "replace").strip()
            return "".join(letter if letter.isprintable() else "?" for letter in said[:LONGEST])
    return ""
