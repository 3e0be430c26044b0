"""The pepper of keys: 32 random bytes that the database does not have, so that its copy alone opens nothing.

A file beside the state that its owner alone may read, made with the first key, or a variable of the environment where
several machines share a PostgreSQL. It never changes: without it no key of this state is known any more.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from penstock.errors import ConfigError

SIZE = 32
_SQLITE = "sqlite:///"


def place(url: str) -> Path | None:
    """Where the file is; None for a database that is no file."""
    if not url.startswith(_SQLITE):
        return None
    return Path(url.removeprefix(_SQLITE).partition("?")[0]).with_suffix(".pepper")


def read(url: str, variable: str, environ: Mapping[str, str]) -> bytes | None:
    """The pepper; None where none was made yet. `ConfigError` for one that cannot be used."""
    if variable:
        return _given(variable, environ.get(variable, ""))
    path = place(url)
    if path is None:
        msg = "Reading the pepper of keys: this state is no file to keep one beside."
        raise ConfigError(msg, hint="Set auth.pepper_env, and that variable alike on every machine.")
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
                msg = f"Reading the pepper of keys: others than its owner may use {path}."
                raise ConfigError(msg, hint=f"chmod 600 {path}; if others have read it, make all keys anew.")
            return _plain(str(path), file.read(SIZE * 2 + 2))
    except FileNotFoundError:
        return None
    except OSError as error:
        msg = f"Reading the pepper of keys at {path}: {error.strerror}."
        raise ConfigError(msg, hint="The account of the gateway must be able to read it.") from None


def make(url: str, variable: str, environ: Mapping[str, str]) -> bytes:
    """The pepper, made now if there is none; two that make one at the same time get the same."""
    found = read(url, variable, environ)
    path = place(url)
    if found is not None or path is None:
        return found or b""
    beside = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(SIZE) + "\n")
            file.flush()
            os.fsync(file.fileno())
        _settle(beside, path)
    except OSError as error:
        msg = f"Making the pepper of keys at {path}: {error.strerror}."
        raise ConfigError(msg, hint="The folder of the state must be writable.") from None
    return read(url, variable, environ) or b""


def _settle(beside: Path, path: Path) -> None:
    """Whole or not at all, and never over one that is there."""
    try:
        path.hardlink_to(beside)
    except FileExistsError:
        pass  # somebody was sooner: theirs holds
    finally:
        beside.unlink()


def _plain(where: str, text: bytes) -> bytes:
    try:
        found = bytes.fromhex(text.decode("ascii").strip())
    except ValueError:
        found = b""
    if len(found) != SIZE:
        msg = f"Reading the pepper of keys at {where}: it is not {SIZE * 2} hexadecimal digits."
        raise ConfigError(msg, hint="Bring back the one the keys were made with, from the backup of the state.")
    return found


def _given(variable: str, value: str) -> bytes:
    if len(value) < SIZE:
        msg = f"Reading the pepper of keys from {variable}: it has fewer than {SIZE} characters, or is not set."
        raise ConfigError(msg, hint="openssl rand -hex 32 makes one; every machine of the gateway has the same.")
    return value.encode()
