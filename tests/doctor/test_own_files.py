"""No false alarm: nothing is found in what this project itself has committed or writes."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.cli.console import run

from penstock.doctor.files import gather
from penstock.doctor.report import report
from penstock.rules.read import kind_of

ROOT = Path(__file__).parents[2]
WRONG_ON_PURPOSE = ("tests/doctor", "tests/rules")


def own_files() -> list[Path]:
    """What a clone holds: files under version control, and those that are about to be; all files where there is no git."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"],  # noqa: S607 - git of whoever tests
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        hidden = {".git", ".venv", "build", "dist", "state"}
        listed = [
            str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if not hidden & set(path.relative_to(ROOT).parts)
        ]
    files = [ROOT / name for name in listed if not _of_a_test(name)]
    return [path for path in files if path.is_file() and kind_of(path.name)]


def _of_a_test(name: str) -> bool:
    """Code of tests quotes the documents' mistakes; their configurations and pages are our own."""
    return name.startswith(WRONG_ON_PURPOSE) or (name.startswith("tests/") and name.endswith(".py"))


def test_nothing_is_wrong_with_our_own_files() -> None:
    """Documents with their snippets, sources, examples, configurations of tests: everything in the repository."""
    done = report(gather(own_files()), [])
    assert len(done.files) > 200
    assert [f"{finding.rule} {finding.evidence[0].place}: {finding.wrong}" for finding in done.findings] == []
    assert list(done.notes) == []


def test_nothing_is_wrong_with_what_the_program_writes(tmp_path: Path) -> None:
    """Of the configuration that a start writes down, and of what explain-config prints."""
    environment = {"VLLM_URL": "http://127.0.0.1:8001/v1", "VLLM_MODEL": "org/model", "LLM_PROVIDER": "vllm"}
    (tmp_path / "explained.yaml").write_text(run(tmp_path, "explain-config", "--json", env=environment).out)
    (tmp_path / "explained.md").write_text(run(tmp_path, "explain-config", env=environment).out)
    (tmp_path / "schema.yaml").write_text(run(tmp_path, "explain-config", "--schema").out)
    done = run(tmp_path, "doctor", "--json")
    assert (done.code, done.data["findings"], len(done.data["files"])) == (0, [], 3)
