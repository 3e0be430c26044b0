"""`penstock audit`: receipts shown, proved, exported and erased where the gateway runs, and verified anywhere.

`verify`, `open` and `cosign` need files and public keys alone: no gateway, no configuration, no network.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from penstock.cli.config_file import ConfigFile, config_file
from penstock.cli.screen import err, note, out, print_json
from penstock.errors import BadLog, BadReceipt, ConfigError
from penstock.receipts import bodies, export, folder, keys, log, proof, sealed
from penstock.receipts import note as notes
from penstock.receipts import verify as verifying
from penstock.receipts.folder import CHECKPOINT
from penstock.receipts.note import Signer, Verifier
from penstock.receipts.store import Kept, Store
from penstock.receipts.verify import Report, Trust
from penstock.receipts.writer import LOG
from penstock.sources import load

audit = typer.Typer(no_args_is_help=True, help="Receipts: show, prove, verify, export, erase.")

Folder = Annotated[
    Path | None,
    typer.Option("--folder", help="The folder of receipts; else the configuration names it.", metavar="DIR"),
]
Tenant = Annotated[str, typer.Option(help="Only receipts of this tenant.")]
RequestId = Annotated[
    str, typer.Argument(help="The request's id: what `x-penstock-receipt` of the answer says.", metavar="ID")
]
Key = Annotated[str, typer.Option(help="The log's public key: the line itself, or a file with it.", metavar="KEY")]
Witnesses = Annotated[
    list[str] | None, typer.Option("--witness", help="The public key of a witness; repeat for more.", metavar="KEY")
]
Need = Annotated[int | None, typer.Option(help="How many of the witnesses must have signed; all where not given.")]
MOST_SHOWN = 20


@audit.command("show")
def show(name: RequestId, *, tenant: Tenant = "", place: Folder = None, config: ConfigFile = None) -> None:
    """Print one receipt."""
    kept = _kept(_place(place, config), name, tenant)
    print_json({"place": kept.place, "receipt": json.loads(kept.data)})


@audit.command("proof")
def prove(name: RequestId, *, tenant: Tenant = "", place: Folder = None, config: ConfigFile = None) -> None:
    """Print one receipt with what proves it, for `penstock audit verify`."""
    where = _place(place, config)
    kept = _kept(where, name, tenant)
    head, tree = proof.head_of(where / LOG, keys.public(where))
    if kept.place >= tree.size:
        raise BadLog(f"Proving the receipt {name!r}: it is not in a checkpoint yet.", hint="Ask again in a second.")
    out.file.write(proof.encode(proof.make(kept, tree, head)).decode() + "\n")


@audit.command("verify")
def verify(
    path: Annotated[Path, typer.Argument(help="An exported folder, or a file that `audit proof` printed.")],
    *,
    key: Key,
    witness: Witnesses = None,
    need: Need = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(help="A checkpoint of the same log from elsewhere; repeat for more.", metavar="FILE"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Say whether it is what the log signed, and if not, which entry is the first bad one."""
    trust = _trust(key, witness, need)
    if path.is_file():
        found, place, head = proof.verify(proof.decode(folder.read(path)), trust.log, trust.witnesses, trust.need)
        told = {"receipt": found.id, "place": place, "log": head.origin, "size": head.size}
        if as_json:
            print_json(told)
        else:
            out.print(f"good: {found.id} is entry {place} of {head.origin}, which had {head.size} entries")
        return
    report = verifying.verify(path, trust, [folder.read(one) for one in against or ()])
    _tell(report, as_json=as_json)
    if not report.good:
        raise typer.Exit(1)


@audit.command("export")
def export_(
    to: Annotated[Path, typer.Argument(help="A new folder.", metavar="DIR")],
    *,
    tenant: Tenant = "",
    place: Folder = None,
    config: ConfigFile = None,
) -> None:
    """Copy the log, and receipts with their salts, for an auditor. The public key goes another way: `audit key`."""
    where = _place(place, config)
    store = Store(where)
    try:
        entries, receipts = export.export(store, where / LOG, keys.public(where), to, tenant or None)
    finally:
        store.close()
    note(f"{entries} entries and {receipts} receipts are in {to}")


@audit.command("key")
def key_(*, place: Folder = None, config: ConfigFile = None) -> None:
    """Print the public key of the log."""
    out.file.write(f"{keys.public(_place(place, config))}\n")


@audit.command("tail")
def tail(
    *,
    last: Annotated[int, typer.Option("-n", min=0, help="Receipts to begin with.")] = 10,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with those that come.")] = False,
    tenant: Tenant = "",
    place: Folder = None,
    config: ConfigFile = None,
) -> None:
    """Print the newest receipts, one JSON line each."""
    store = Store(_place(place, config))
    try:
        begin = max(0, store.size - last)
        while True:
            for kept in store.all(tenant or None, begin):
                out.file.write(kept.data.decode() + "\n")
                begin = kept.place + 1
            out.file.flush()
            if not follow:
                return
            time.sleep(0.2)
    finally:
        store.close()


@audit.command("erase")
def erase(
    tenant: Annotated[str, typer.Argument(help="The tenant whose receipts are deleted.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; there is no way back.")] = False,
    place: Folder = None,
    config: ConfigFile = None,
) -> None:
    """Delete the receipts, salts, bodies and key of a tenant. The log stays as it is and still verifies."""
    if not yes:
        raise ConfigError(f"Erasing the receipts of {tenant!r}: there is no way back.", hint="Say --yes.")
    store = Store(_place(place, config), write=True)
    try:
        note(f"{store.erase(tenant)} receipts of {tenant} are gone")
    finally:
        store.close()


@audit.command("open")
def open_(
    path: Annotated[Path, typer.Argument(help="An exported folder with bodies.", metavar="DIR")],
    *,
    auditor: Annotated[Path | None, typer.Option(help="File with the auditor's secret key.", metavar="FILE")] = None,
) -> None:
    """Print requests and answers of an export, each held against its receipt."""
    secret = sealed.secret(folder.read(auditor).decode("ascii", "replace")) if auditor is not None else None
    for one in bodies.opened(path, secret):
        told = {
            "place": one.place,
            "id": one.receipt.id,
            "request": one.request.decode("utf-8", "replace"),
            "answer": one.answer.decode("utf-8", "replace"),
        }
        out.file.write(json.dumps(told, ensure_ascii=False) + "\n")


@audit.command("keygen")
def keygen(
    to: Annotated[
        Path, typer.Argument(help="A new file for the secret key; the public one is printed.", metavar="FILE")
    ],
    *,
    log_name: Annotated[str, typer.Option("--log", help="A key that signs the log of this name.", metavar="NAME")] = "",
    witness: Annotated[str, typer.Option(help="A key of a witness of this name.", metavar="NAME")] = "",
    auditor: Annotated[bool, typer.Option("--auditor", help="A key to which bodies are sealed.")] = False,
) -> None:
    """Make a key."""
    if bool(log_name) + bool(witness) + auditor != 1:
        raise ConfigError("Making a key: of whom?", hint="One of --log NAME, --witness NAME and --auditor.")
    if to.exists():
        raise ConfigError(f"Making a key: {to} exists.", hint="Name a new file.")
    if auditor:
        public, secret = sealed.new()
    else:
        made = Signer.new(log_name) if log_name else Signer.new(witness, notes.COSIGNATURE)
        public, secret = str(made.verifier), made.secret()
    log.replace(to, secret.encode() + b"\n", 0o600)
    out.file.write(public + "\n")


@audit.command("cosign")
def cosign(
    path: Annotated[Path, typer.Argument(help="A copy of the log: an exported folder.", metavar="DIR")],
    *,
    key: Key,
    secret: Annotated[Path, typer.Option(help="File with the secret key of the witness.", metavar="FILE")],
    seen: Annotated[
        Path,
        typer.Option(help="File with the checkpoint that was signed last; made by the first call.", metavar="FILE"),
    ],
) -> None:
    """As a witness, sign the checkpoint of a log that grew from the one signed last; print it."""
    trust = Trust(_verifier(key))
    signer = Signer.read(folder.read(secret).decode("ascii", "replace"))
    if signer.verifier.kind != notes.COSIGNATURE:
        raise ConfigError(
            f"Signing as a witness: {secret} is no key of a witness.", hint="`penstock audit keygen --witness NAME`."
        )
    before = [folder.read(seen)] if seen.exists() else []
    report = verifying.verify(path, trust, before)
    if not report.good:
        _tell(report, as_json=False)
        raise typer.Exit(1)
    parsed = notes.parse(folder.read(path / CHECKPOINT))
    signed = notes.Note(parsed.text, (*parsed.signatures, signer.sign(parsed.text, int(time.time())))).encode()
    # Kept before it is told: a witness never signs two trees.
    log.replace(seen, signed)
    out.file.write(signed.decode())


def _place(named: Path | None, config: Path | None) -> Path:
    if named is not None:
        return named
    settings = load(config_file(config), os.environ).config.receipts
    if settings is None:
        raise ConfigError("Looking for receipts: the configuration has none.", hint="--folder names their folder.")
    return Path(settings.folder)


def _kept(place: Path, name: str, tenant: str) -> Kept:
    store = Store(place)
    try:
        kept = store.find(name, tenant or None)
    finally:
        store.close()
    if kept is None:
        raise BadReceipt(
            f"Looking for the receipt {name!r}: there is none in {place}.",
            hint="A request is logged within a second of its end.",
        )
    return kept


def _verifier(given: str) -> Verifier:
    path = Path(given)
    line = folder.read(path).decode("utf-8", "replace") if "+" not in given or path.is_file() else given
    return notes.verifier(line)


def _trust(key: str, witnesses: list[str] | None, need: int | None) -> Trust:
    who = tuple(_verifier(one) for one in witnesses or ())
    return Trust(_verifier(key), who, len(who) if need is None else need)


def _tell(report: Report, *, as_json: bool) -> None:
    first = report.first
    if as_json:
        findings = [{"kind": one.kind, "entry": one.at, "message": one.message} for one in report.findings]
        print_json(
            {
                "good": report.good,
                "log": report.origin,
                "size": report.size,
                "receipts": report.receipts,
                "first": first.at if first else None,
                "findings": findings,
            }
        )
        return
    if first is None:
        out.print(f"good: {report.size} entries of {report.origin}, {report.receipts} receipts held against them")
        return
    for one in report.findings[:MOST_SHOWN]:
        err.print(f"{one.kind}: {one.message}", markup=False)
    where = f"entry {first.at} is the first bad one" if first.at is not None else "which entry cannot be told"
    sys.stdout.write(f"bad: {where} ({first.kind})\n")
