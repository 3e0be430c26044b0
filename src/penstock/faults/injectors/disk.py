"""A small disk of one process: a tmpfs in a mount namespace of its own, filled and emptied while the process runs.

It comes and goes with the process, so nothing is left behind, however that ends. From outside it is reached through `/proc`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from penstock.faults.scenario import Failed


class Disk:
    """What the processes started behind `prefix` find at `folder`."""

    def __init__(self, folder: Path, size: int = 1 << 20) -> None:
        folder.mkdir()
        self.folder = folder
        self._size = size

    def prefix(self, log: Path | None = None) -> Sequence[str]:
        """The command in front of a process; `log`, a file on the disk, takes its stderr."""
        onto = f' 2>>"{log}"' if log is not None else ""
        script = f'mount -t tmpfs -o size={self._size} tmpfs "{self.folder}" && exec "$@"{onto}'
        return ("unshare", "--mount", "sh", "-c", script, "sh")

    def seen(self, pid: int, file: Path) -> Path:
        """Where a file of the disk is for us."""
        return Path(f"/proc/{pid}/root{file}")

    def fill(self, pid: int) -> None:
        """Not a byte is left."""
        ballast = self.seen(pid, self.folder / "ballast")
        with ballast.open("ab", buffering=0) as file:
            for size in (64 << 10, 4096, 1):
                while True:
                    try:
                        file.write(b"\0" * size)
                    except OSError as full:
                        if full.errno != errno.ENOSPC:
                            raise
                        break
                    if os.fstat(file.fileno()).st_size > 2 * self._size:
                        raise Failed(f"a disk of {self._size} bytes was expected, it takes more")

    def empty(self, pid: int) -> None:
        """There is room again."""
        self.seen(pid, self.folder / "ballast").unlink()
