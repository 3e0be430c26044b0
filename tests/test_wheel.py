"""The built wheel: what it holds, and that it works where the repository is not there (S2.20)."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from penstock import __version__

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command: list[str | Path] = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT]
    subprocess.run(command, check=True, capture_output=True, timeout=50)
    [path] = out.glob("penstock-*.whl")
    return path


def test_wheel_holds_the_package_and_the_guide_and_nothing_of_the_tests(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "penstock/py.typed" in names
    assert f"penstock-{__version__}.dist-info/licenses/LICENSE" in names
    assert {f"penstock/engine/guide/{path.name}" for path in (ROOT / "models/guide/dist").glob("*.gguf")} <= names
    assert {name.split("/")[0] for name in names} == {"penstock", f"penstock-{__version__}.dist-info"}


def test_installed_wheel_runs_without_the_repository(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    python = tmp_path / "env/bin/python"
    install: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        wheel,
    ]
    subprocess.run(install, check=True, timeout=50)
    # The libraries come from the environment that runs the tests; its editable penstock does not come along,
    # because Python reads .pth files in site directories only.
    [site] = (tmp_path / "env/lib").glob("python*/site-packages")
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    where = subprocess.run(
        [python, "-c", "import penstock; print(penstock.__file__)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        timeout=30,
    )
    assert where.stdout.startswith(str(site))
    answer = subprocess.run(
        [tmp_path / "env/bin/penstock", "version"], capture_output=True, text=True, check=True, cwd=tmp_path, timeout=30
    )
    assert __version__ in answer.stdout
