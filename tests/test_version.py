"""The version that the package, its metadata and the command line give is one and the same."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from penstock import __version__


def test_metadata_agrees_with_the_package() -> None:
    assert version("penstock") == __version__


def test_installed_script_prints_the_version() -> None:
    script = Path(sys.executable).with_name("penstock")
    answer = subprocess.run([script, "version"], capture_output=True, text=True, timeout=30, check=True)
    assert __version__ in answer.stdout
