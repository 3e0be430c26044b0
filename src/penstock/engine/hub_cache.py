"""The cache folder that hub tools share: where a model file lies, and how a new one is put there.

    HF_HUB_CACHE, else HF_HOME/hub, else XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub
      models--OWNER--NAME/
        refs/main                       the commit that `main` meant when it was last asked
        blobs/ETAG                      the content, named by its digest
        snapshots/COMMIT/FILE           a relative link to its blob

A file that another tool downloaded is found here, and one that we download is found by them. No network in here.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from penstock.errors import ConfigError

REVISION = "main"


def cache_folder(environment: Mapping[str, str]) -> Path:
    """The root of the cache for this environment."""
    if named := environment.get("HF_HUB_CACHE") or environment.get("HUGGINGFACE_HUB_CACHE"):
        return Path(named).expanduser()
    return home_folder(environment) / "hub"


def home_folder(environment: Mapping[str, str]) -> Path:
    """Where hub tools keep their things, the token among them."""
    if named := environment.get("HF_HOME"):
        return Path(named).expanduser()
    return Path(environment.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "huggingface"


@dataclass(frozen=True, slots=True)
class Cache:
    """The folder of one repository."""

    folder: Path

    @classmethod
    def of(cls, repository: str, environment: Mapping[str, str]) -> Cache:
        """The folder of OWNER/NAME, whether it exists or not."""
        return cls(cache_folder(environment) / f"models--{repository.replace('/', '--')}")

    def files(self) -> dict[str, Path]:
        """Every file of the newest snapshot that is here, by its name in the repository."""
        snapshot = self._snapshot()
        if snapshot is None:
            return {}
        return {path.relative_to(snapshot).as_posix(): path for path in sorted(snapshot.rglob("*")) if path.is_file()}

    def find(self, commit: str, name: str) -> Path | None:
        """The file as of one commit, if it is here as a whole."""
        path = self.folder / "snapshots" / commit / name
        return path if path.is_file() else None

    def partial(self, etag: str) -> Path:
        """Where an unfinished download of this blob goes on. The name is ours: another tool's half must not be continued."""
        return self.folder / "blobs" / f"{etag}.penstock.part"

    def keep(self, commit: str, name: str, etag: str) -> Path:
        """Makes the finished download of `etag` the file `name` of `commit`, in the order that leaves no dangling link."""
        blob = self.folder / "blobs" / etag
        partial = self.partial(etag)
        if partial.exists():
            partial.replace(blob)
        path = self.folder / "snapshots" / commit / name
        path.parent.mkdir(parents=True, exist_ok=True)
        link = path.with_name(path.name + ".penstock.link")
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(blob, path.parent))
        link.replace(path)
        reference = self.folder / "refs" / REVISION
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(commit, encoding="ascii")
        return path

    @contextlib.contextmanager
    def downloading(self, etag: str, size: int) -> Iterator[Path]:
        """The partial file, ours alone while the block runs. Raises ConfigError when another process has it or disk lacks."""
        partial = self.partial(etag)
        try:
            partial.parent.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(partial.parent).free
            with partial.open("ab") as file:
                missing = size - file.tell()
                if missing > free:
                    raise ConfigError(
                        f"Downloading into {partial.parent}: {missing} bytes are missing and {free} are free.",
                        hint="Make room, or name another folder in HF_HOME.",
                    )
                _lock(file.fileno(), partial)
                yield partial
        except OSError as problem:
            raise ConfigError(
                f"Downloading into {partial.parent}: {problem.strerror or problem}.",
                hint="Make the folder writable, or name another one in HF_HOME.",
            ) from problem

    def _snapshot(self) -> Path | None:
        """The snapshot of `main`, else the youngest one."""
        snapshots = self.folder / "snapshots"
        with contextlib.suppress(OSError):
            named = snapshots / (self.folder / "refs" / REVISION).read_text(encoding="ascii").strip()
            if named.is_dir():
                return named
        found = [path for path in snapshots.glob("*") if path.is_dir()]
        return max(found, key=lambda path: path.stat().st_mtime, default=None)


def _lock(descriptor: int, partial: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as problem:
        raise ConfigError(
            f"Downloading to {partial}: another process is downloading the same file.",
            hint="Wait until it is done, then try again.",
        ) from problem
