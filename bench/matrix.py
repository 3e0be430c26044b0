"""The same faults set upon Penstock and its peers: `python -m bench.matrix run NAME…`, and one table of what came of each.

    .venv/bin/python -m bench.matrix run penstock vllm-router litellm --date 2026-11-21
    .venv/bin/python -m bench.matrix table --date 2026-11-21

Each run writes `results/DATE-faults-NAME.json` with the machine and the version; `table` makes `results/DATE-faults.md` of those
that are there. A gateway's own failures are told in the words of the scenario, without paths of this machine.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from bench import machine
from bench.gateways import GATEWAYS, SLOW
from bench.peers import OURS, PEERS
from bench.report import RESULTS

ORDER = (OURS, *GATEWAYS)
PATHS = re.compile(r"(?:/[\w.@+-]+){2,}")
LONGEST = 300
_NOT = {"failed": "**failed**", "not applicable": "n/a", "not built": "–"}

HEAD = """\
# The same faults, set upon Penstock and others

Made by `python -m bench.matrix table`. Each cell: how many of the row's scenarios that can be asked of this gateway ended as they must, and the verdict of the row: *passed* only if all
did. *n/a*: cannot be asked of this gateway (its configuration, its figures, or a process that was started once for all). –: not built yet. What each scenario injects:
[faults](../../docs/reference/faults.md). Every gateway stands between two scripted engines; how it is set up: `bench/gateways.py`.

"""


def command(name: str) -> list[str]:
    """What makes the results of one gateway, as it can be typed in the root of the repository."""
    line = [".venv/bin/penstock", "faults", "--json"]
    if name != OURS:
        launcher = ".venv/bin/python -m bench.gateways " + name + " {host} {port} {a} {b} {dir}"
        line += ["--launch", launcher, *(["--keep"] if name in SLOW else [])]
    return line


def run(name: str, date: str, jobs: int) -> None:
    """One gateway's matrix."""
    line = [*command(name), *(["--jobs", str(jobs)] if jobs else [])]
    # Through this interpreter: the same command in whatever environment this is.
    program = [sys.executable, "-c", "from penstock.cli import main; main()", *line[1:]]
    done = subprocess.run(program, stdout=subprocess.PIPE, check=False, cwd=RESULTS.parents[1])
    if done.returncode not in {0, 1} or not done.stdout:
        sys.exit(f"{name}: penstock faults ended with {done.returncode}; its complaint stands above")
    save(name, date, json.loads(done.stdout))


def save(name: str, date: str, matrix: dict[str, Any]) -> None:
    """Beside the other results."""
    matrix.pop("gateway")
    kept = {
        "gateway": name,
        "version": PEERS[name].version(),
        "command": " ".join(f"'{word}'" if " " in word else word for word in command(name)),
        "machine": machine.describe().as_dict(),
        **json.loads(PATHS.sub("…", json.dumps(matrix))),
    }
    file = RESULTS / f"{date}-faults-{name}.json"
    file.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"wrote {file.name}")


def table(date: str) -> None:
    """One page of all that are there."""
    files = [(name, RESULTS / f"{date}-faults-{name}.json") for name in ORDER]
    found = {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files if file.exists()}
    page = "".join([HEAD, *_conditions(found), *_rows(found), *_failures(found)])
    (RESULTS / f"{date}-faults.md").write_text(page, encoding="utf-8")
    print(f"wrote {date}-faults.md: {', '.join(found)}")


def _conditions(found: dict[str, Any]) -> Iterator[str]:
    for name, told in found.items():
        at = told["machine"]
        sums = ", ".join(
            f"{told[key]} {key.replace('_', ' ')}" for key in ("passed", "failed", "not_applicable", "not_built")
        )
        yield f"* **{name}** {told['version']}: rows {sums}; `{told['command']}`\n"
        yield (
            f"  ({at['cpu']}, {at['cores']} cores, {at['kernel']}, Python {at['python']}, commit {at['commit']}, "
            f"load {at['load_average']}, {told['seconds']:.0f} s)\n"
        )
    yield "\n"


def _rows(found: dict[str, Any]) -> Iterator[str]:
    yield f"| row | fault | {' | '.join(found)} |\n|---|---|{'---|' * len(found)}\n"
    pages = [told["rows"] for told in found.values()]
    for rows in zip(*pages, strict=True):
        yield f"| {rows[0]['row']} | {rows[0]['title']} | {' | '.join(map(_cell, rows))} |\n"


def _cell(row: dict[str, Any]) -> str:
    states = [one["state"] for one in row["scenarios"]]
    asked = len(states) - states.count("not applicable")
    verdict = _NOT.get(row["state"], row["state"])
    return f"{verdict} {states.count('passed')}/{asked}" if asked else verdict


def _failures(found: dict[str, Any]) -> Iterator[str]:
    for name, told in found.items():
        failed = [one for row in told["rows"] for one in row["scenarios"] if one["state"] == "failed"]
        yield f"\n## What {name} did not do\n\n" + ("" if failed else "Nothing failed.\n")
        for one in failed:
            reason = " ".join(one["reason"].split())
            reason = reason if len(reason) <= LONGEST else reason[:LONGEST] + " …"
            yield f"* {one['row']} `{one['name']}`: {one['expected']} – {reason.replace('<', '&lt;')}\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """`run` some, then `table`."""
    parser = argparse.ArgumentParser(prog="python -m bench.matrix", description=__doc__)
    parser.add_argument("verb", choices=("run", "table"))
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--date", default=datetime.now(tz=UTC).date().isoformat())
    parser.add_argument(
        "--jobs", type=int, default=0, help="scenarios at the same time; penstock's own default where 0"
    )
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(ORDER):
        parser.error(f"no gateway is called {', '.join(sorted(unknown))}; there are {', '.join(ORDER)}")
    if options.verb == "run":
        for name in options.names or ORDER:
            run(name, options.date, options.jobs)
    table(options.date)


if __name__ == "__main__":
    main()
