"""What a process and those it started hold of the machine's memory, as the kernel counts it. Linux only."""

from __future__ import annotations

from pathlib import Path

from penstock.faults.scenario import NotHere

_OWN = ("Pss_Anon:", "Pss_Shmem:")


def held(pid: int) -> int:
    """Bytes of the process and all its descendants that no file stands behind, shared pages by parts.

    The pages of programs and libraries are left out: how much of them is counted changes when others who share them end.
    """
    return sum(_own(one) for one in family(pid))


def family(pid: int) -> list[int]:
    """The process and everything that descends from it."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:  # it has ended since
            continue
        parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(folder.name))
    found = [pid]
    for one in found:  # grows while it is walked
        found += parents.get(one, [])
    return found


def _own(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return 0
    except PermissionError as error:
        raise NotHere(f"the memory of process {pid} cannot be read: {error}") from None
    except ProcessLookupError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(_OWN))
