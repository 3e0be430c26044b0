"""The committed files of the guide belong together: the GGUF file is made of the safetensors, and both are small."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from penstock.engine.gguf import read_model
from penstock.engine.guide import guide_file

GUIDE = Path(__file__).parents[2] / "models" / "guide"


def convert(out: Path, kind: str) -> bytes:
    command = [sys.executable, str(GUIDE / "to_gguf.py"), str(GUIDE / "hf"), str(out), "--type", kind]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return out.read_bytes()


def test_the_gguf_file_is_made_of_the_safetensors(tmp_path: Path) -> None:
    assert convert(tmp_path / "again.gguf", "q8_0") == (GUIDE / "dist" / "guide-q8_0.gguf").read_bytes()
    assert list(tmp_path.iterdir()) == [tmp_path / "again.gguf"]


def test_other_precisions_are_written_too(tmp_path: Path) -> None:
    assert len(convert(tmp_path / "half.gguf", "f16")) > guide_file().stat().st_size
    assert read_model(tmp_path / "half.gguf") == read_model(guide_file())


def test_the_files_are_small() -> None:
    assert guide_file().stat().st_size <= 4_000_000
    assert (GUIDE / "hf" / "model.safetensors").stat().st_size <= 6_000_000
