"""Names with and without their tag."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.protocols import names


@pytest.mark.parametrize(
    ("name", "tag", "tagged", "bare", "lookup"),
    [
        ("llama3.2", None, "llama3.2:latest", "llama3.2", ("llama3.2", "llama3.2:latest")),
        ("llama3.2:latest", "latest", "llama3.2:latest", "llama3.2", ("llama3.2:latest", "llama3.2")),
        ("llama3.1:8b", "8b", "llama3.1:8b", "llama3.1:8b", ("llama3.1:8b",)),
        (
            "hub:5000/team/m",
            None,
            "hub:5000/team/m:latest",
            "hub:5000/team/m",
            ("hub:5000/team/m", "hub:5000/team/m:latest"),
        ),
        ("hub:5000/team/m:q4", "q4", "hub:5000/team/m:q4", "hub:5000/team/m:q4", ("hub:5000/team/m:q4",)),
        (
            "meta-llama/Llama-3",
            None,
            "meta-llama/Llama-3:latest",
            "meta-llama/Llama-3",
            ("meta-llama/Llama-3", "meta-llama/Llama-3:latest"),
        ),
    ],
)
def test_spellings(name: str, tag: str | None, tagged: str, bare: str, lookup: tuple[str, ...]) -> None:
    """S1.1: a client that says `x` and one that says `x:latest` mean the same model."""
    assert names.tag(name) == tag
    assert names.tagged(name) == tagged
    assert names.bare(name) == bare
    assert names.lookup(name) == lookup


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20))
def test_every_name_is_looked_up_as_it_is_spelled_first(name: str) -> None:
    assert names.lookup(name)[0] == name
    assert names.tagged(names.tagged(name)) == names.tagged(name)
    assert names.bare(names.tagged(name)) in {name, name.removesuffix(":"), names.bare(name)}
