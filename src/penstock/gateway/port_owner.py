"""Which process of this machine listens on a port, as far as the system shows it to us: Linux' /proc, else nothing."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

LISTENING: Final = "0A"
"""The state of a listening socket in /proc/net/tcp."""


def port_owner(port: int) -> str:
    """`process 4711, ollama`, or an empty text where that cannot be seen."""
    inodes = {f"socket:[{inode}]" for table in ("tcp", "tcp6") for inode in _inodes(Path("/proc/net") / table, port)}
    if not inodes:
        return ""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and _holds(folder, inodes):
            with suppress(OSError):
                return f"process {folder.name}, {(folder / 'comm').read_text(encoding='utf-8').strip()}"
    return ""


def _inodes(table: Path, port: int) -> list[str]:
    try:
        lines = table.read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return []
    rows = [line.split() for line in lines]
    return [row[9] for row in rows if row[3] == LISTENING and int(row[1].rpartition(":")[2], 16) == port]


def _holds(folder: Path, inodes: set[str]) -> bool:
    try:
        return any(str(link.readlink()) in inodes for link in (folder / "fd").iterdir())
    except OSError:
        return False  # another user's process, or one that is gone by now
