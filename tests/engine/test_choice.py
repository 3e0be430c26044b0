"""What --model may be: the guide, a path, or a name on the hub; and where the guide's file is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.engine.choice import chosen_file
from penstock.engine.guide import guide_file
from penstock.errors import ConfigError


def test_guide_is_the_bundled_file() -> None:
    assert chosen_file("guide", {}) == guide_file().resolve()
    assert guide_file().stat().st_size <= 4 * 10**6


def test_an_existing_file_needs_no_ending(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"GGUF")
    assert chosen_file(str(file), {}) == file


def test_a_path_that_is_missing_is_not_looked_up_on_the_hub(tmp_path: Path) -> None:
    for name in (f"{tmp_path}/none", "models/none.gguf", "./a/b"):
        with pytest.raises(ConfigError, match="there is no such file"):
            chosen_file(name, {"HF_HUB_OFFLINE": "1"})


def test_owner_and_name_are_looked_up_on_the_hub(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="HF_HUB_OFFLINE"):
        chosen_file("owner/name-GGUF:Q8_0", {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)})


def test_anything_else_is_refused_with_what_may_be_said() -> None:
    with pytest.raises(ConfigError, match="neither `guide`, nor a GGUF file") as caught:
        chosen_file("llama3.2", {})
    assert "OWNER/NAME-GGUF" in caught.value.hint


def test_a_missing_guide_names_every_place(tmp_path: Path) -> None:
    places = (tmp_path / "wheel.gguf", tmp_path / "checkout.gguf")
    with pytest.raises(ConfigError, match="neither at") as caught:
        guide_file(places)
    assert all(str(place) in caught.value.message for place in places)
