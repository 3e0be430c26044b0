"""What is kept of every request as proof, and what happens when that cannot be written.

Part of the tree of config.py. Only nouns; nothing here may do I/O.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from penstock.config_noun import Bytes, Noun, Seconds


class Receipts(Noun, frozen=True, kw_only=True):
    """A receipt for every request, in a log that anybody can verify. Off where this is not given."""

    folder: Annotated[str, Meta(min_length=1, description="Folder of the spool, the receipts and the log.")] = (
        "state/receipts"
    )
    origin: Annotated[
        str,
        Meta(
            pattern=r"^([^\s+]{1,200})?$",
            description="Name of the log, such as `receipts.example.com/gateway-1`; made of the host's name where not given. It never changes.",
            extra={"expected": "a name without spaces and plus signs"},
        ),
    ] = ""
    key: Annotated[
        str,
        Meta(
            description="File with the key that signs the log, made at the first start; in the folder where not given."
        ),
    ] = ""
    bodies: Annotated[
        Literal["none", "sealed", "plain"],
        Meta(
            description="Whether requests and answers are kept beside their receipts, and whether only the auditor can read them."
        ),
    ] = "none"
    auditor: Annotated[
        str,
        Meta(
            pattern=r"^(auditor-x25519:[A-Za-z0-9+/]{43}=)?$",
            description="With `bodies: sealed`: the auditor's public key, from `penstock audit keygen --auditor`.",
            extra={"expected": "auditor-x25519:…"},
        ),
    ] = ""
    body: Annotated[
        Bytes, Meta(description="Largest request or answer that is kept; of larger ones only the digest is.")
    ] = 2**20
    keep: Annotated[
        Seconds | None,
        Meta(description="How long receipts are kept, by whole tiles of 256; for ever where not given. The log stays."),
    ] = None
    spool: Annotated[Bytes, Meta(description="Most that may wait on the disk to be logged.")] = 2**30
    when_full: Annotated[
        Literal["spool", "fail-closed"],
        Meta(
            description="While receipts cannot be written: go on and keep a bounded number in memory, or refuse requests."
        ),
    ] = "spool"
