"""Which files are read, which are not, and what is said about those."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.doctor import files
from penstock.doctor.files import gather
from penstock.errors import ConfigError
from penstock.rules.table import examine


def names(folder: Path) -> list[str]:
    return [str(Path(name).relative_to(folder)) for name in gather([folder]).read]


def put(file: Path, text: str = "") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def test_a_folder_is_walked_in_order(tmp_path: Path) -> None:
    for name in ("b.yaml", "a/Dockerfile", "a/.env", "logo.svg"):
        put(tmp_path / name)
    assert names(tmp_path) == ["b.yaml", "a/.env", "a/Dockerfile"]


def test_other_peoples_packages_and_hidden_folders_are_left_out(tmp_path: Path) -> None:
    for name in ("node_modules/x/a.yaml", ".git/a.yaml", "env/pyvenv.cfg", "env/a.py", "mine/a.py"):
        put(tmp_path / name)
    assert names(tmp_path) == ["mine/a.py"]


def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    put(tmp_path / "a" / "a.yaml")
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    assert names(tmp_path) == ["a/a.yaml"]


def test_the_first_line_says_what_a_file_without_an_extension_is(tmp_path: Path) -> None:
    put(tmp_path / "docker-entrypoint", "#!/usr/bin/env bash\nvllm openai\n")
    put(tmp_path / "serve", "#!/usr/bin/python3\nimport vllm\n")
    put(tmp_path / "LICENSE", "Apache\n")
    (tmp_path / "binary").write_bytes(b"\x7fELF\xff")
    assert names(tmp_path) == ["docker-entrypoint", "serve"]
    assert [finding.rule for finding in examine(gather([tmp_path / "docker-entrypoint"]).material)] == ["W2"]


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    file = put(tmp_path / "a.yaml")
    assert len(gather([tmp_path, file, file]).read) == 1


@pytest.mark.parametrize(("name", "words"), [("nothing.yaml", "no such file"), ("logo.svg", "does not say what it is")])
def test_a_path_that_cannot_be_meant(tmp_path: Path, name: str, words: str) -> None:
    put(tmp_path / "logo.svg")
    with pytest.raises(ConfigError, match=words):
        gather([tmp_path / name])


def test_what_cannot_be_read_is_noted_and_the_rest_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGEST", 100)
    put(tmp_path / "a.yaml", "a: [")
    put(tmp_path / "b.yaml", "a: " + "x" * 100)
    (tmp_path / "c.sh").write_bytes(b"\xff\xfe\x00")
    put(tmp_path / "d.yaml", "\ufeffa: 1")
    found = gather([tmp_path])
    assert [Path(name).name for name in found.read] == ["d.yaml"]
    assert [
        word
        for note, word in zip(found.notes, ("a.yaml:1: not YAML", "larger than 100", "not UTF-8"), strict=True)
        if word not in note
    ] == []


def test_there_is_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST", 2)
    for name in "abc":
        put(tmp_path / f"{name}.yaml")
    found = gather([tmp_path])
    assert len(found.read) == 2
    assert found.notes == ("only the first 2 files were read: name the folders that matter",)
