"""Ollama's model names: `[host/][namespace/]model[:tag]`, where an absent tag means `latest`.

Used when an alias is looked up, so that `llama3.2` and `llama3.2:latest` are one name, as they are for Ollama. Hugging
Face ids (`meta-llama/Meta-Llama-3.1-8B-Instruct`) have no tag and are left as they are by `lookup`.
"""

from __future__ import annotations

LATEST = "latest"


def tag(name: str) -> str | None:
    """The tag of a name, or None; a colon before the last slash is a port."""
    _, colon, found = name.rpartition("/")[2].partition(":")
    return found if colon else None


def tagged(name: str) -> str:
    """The name with its tag spelled out, as Ollama lists it."""
    if tag(name):
        return name
    return f"{name.removesuffix(':')}:{LATEST}"


def bare(name: str) -> str:
    """The name without a tag that says nothing (`:latest`)."""
    return name.removesuffix(f":{LATEST}") if tag(name) == LATEST else name


def lookup(name: str) -> tuple[str, ...]:
    """The spellings under which an alias may be known, the client's own first."""
    other = bare(name) if tag(name) == LATEST else tagged(name)
    return (name,) if tag(name) not in {None, LATEST} else (name, other)
