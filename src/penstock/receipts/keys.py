"""The key of a log on the disk: made once, readable by its owner alone, with its public half beside the log."""

from __future__ import annotations

from pathlib import Path

from penstock.errors import BadNote
from penstock.receipts import folder, note
from penstock.receipts.log import replace
from penstock.receipts.note import Signer, Verifier

SECRET, PUBLIC = "log.key", "log.pub"
_OTHERS = 0o077


def signer(place: Path, path: str, origin: str) -> Signer:
    """The key that signs the log in this folder, a new one where there is none. Raises `BadNote` or `OSError`."""
    secret = Path(path) if path else place / SECRET
    try:
        found = Signer.read(folder.read(secret).decode("ascii", "replace"))
    except FileNotFoundError:
        if (place / PUBLIC).exists():
            raise BadNote(
                f"Reading the key of the log: {secret} is gone, and the log in {place} was signed with it.",
                hint="Put it back; a log cannot go on with another key.",
            ) from None
        found = Signer.new(origin)
        replace(secret, found.secret().encode() + b"\n", 0o600)
    else:
        if secret.stat().st_mode & _OTHERS:
            raise BadNote(f"Reading the key of the log: others may read {secret}.", hint=f"chmod 600 {secret}")
    line = f"{found.verifier}\n".encode()
    public = place / PUBLIC
    if public.exists():
        if folder.read(public) != line:
            raise BadNote(
                f"Reading the key of the log: {secret} is not the one of {public}.", hint="Put the right one back."
            )
    else:
        replace(public, line)
    return found


def public(place: Path) -> Verifier:
    """Whose signature the log in this folder has."""
    try:
        return note.verifier(folder.read(place / PUBLIC).decode("ascii", "replace"))
    except FileNotFoundError:
        raise BadNote(f"Reading the public key of the log in {place}: there is no {PUBLIC} yet.") from None
