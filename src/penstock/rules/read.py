"""One file's text as material, by what its name says it is; a document's blocks by what their language says. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from penstock.rules.finding import Evidence
from penstock.rules.material import Material, joined
from penstock.rules.reading import compose, dockerfile, env_file, kubernetes, markdown, python_code, requirements_file
from penstock.rules.reading import shell as shell_text
from penstock.rules.reading.links import fetched
from penstock.rules.reading.text import Text, Unreadable
from penstock.rules.reading.values import values
from penstock.rules.reading.yaml_tree import Node, documents

Reader = Callable[[Text], Material]

LONGEST: Final = 20_000
"""Characters of a line that a person may have written."""
_COMMENT = re.compile(r"(?:^|\s)#\s*(.*)")
_TELLING = re.compile(r"(?i)vllm|openai|create_llm|retrieve|invoke")
"""What every Python file that some rule looks at mentions: the others need no parsing."""
_BLOCKS: Final = {
    "bash": "shell",
    "sh": "shell",
    "shell": "shell",
    "zsh": "shell",
    "yaml": "yaml",
    "yml": "yaml",
    "python": "python",
    "py": "python",
    "dockerfile": "dockerfile",
    "docker": "dockerfile",
    "env": "env",
    "dotenv": "env",
    "ini": "env",
}


def kind_of(name: str, begin: str = "") -> str:
    """What a file is by its name: shell, yaml, python, dockerfile, env, requirements, document; empty for any other.

    A name without an extension says nothing; then the first line does, if it names a shell or Python (`begin`).
    """
    base = name.rpartition("/")[2].lower()
    for pattern, kind in _NAMES:
        if pattern.fullmatch(base):
            return kind
    started = _STARTED.match(begin) if "." not in base else None
    return ("python" if started["python"] else "shell") if started else ""


_STARTED: Final = re.compile(r"#!.*\b(?:(?P<python>python[\d.]*)|(?:ba|da|z|a)?sh)\b")
_NAMES: Final = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in (
        (r"(?:.*[.-])?(?:dockerfile|containerfile)(?:[.-].*)?", "dockerfile"),
        (r"(?:.*\.)?env(?:\..+)?|.*\.env\..+", "env"),
        (r"requirements.*\.(?:txt|in)", "requirements"),
        (r".*\.ya?ml", "yaml"),
        (r".*\.(?:sh|bash|zsh)", "shell"),
        (r".*\.py", "python"),
        (r".*\.(?:md|markdown|rst|txt|adoc)", "document"),
    )
)


def read(name: str, text: str, kind: str = "") -> Material:
    """The material of one file; `Unreadable` where it is not what its name says."""
    kind = kind or kind_of(name, text[:200])
    reader = _READERS.get(kind)
    if reader is None:
        return Material()
    if kind not in {"python", "document"} and max(map(len, text.splitlines()), default=0) > LONGEST:
        raise Unreadable(f"{name}: a line of more than {LONGEST} characters")
    return reader(Text(name, text))


def _shell(text: Text) -> Material:
    script = shell_text.script(text)
    scrapes = tuple(one for command in script.commands for one in fetched(command))
    return Material(scripts=(script,), scrapes=scrapes, comments=tuple(_comments(text)))


def _yaml(text: Text) -> Material:
    parts = [_yaml_document(text, root) for root in documents(text)]
    return joined([*parts, Material(comments=tuple(_comments(text)))])


def _yaml_document(text: Text, root: Node) -> Material:
    services = compose.services_of(root)
    if services is not None:
        return compose.compose(text, services)
    return kubernetes.kubernetes(root) if kubernetes.is_manifest(root) else values(root)


def _comments(text: Text) -> Iterator[Evidence]:
    return (text.at(text.first + index) for index, line in enumerate(text.lines) if _COMMENT.search(line))


def _dockerfile(text: Text) -> Material:
    return Material(recipes=(dockerfile.recipe(text),), comments=tuple(_comments(text)))


def _env(text: Text) -> Material:
    return Material(env_files=(env_file.env_file(text),), comments=tuple(_comments(text)))


def _python(text: Text) -> Material:
    if not _TELLING.search(text.text):
        return Material()
    return Material(modules=(python_code.module(text),))


def _requirements(text: Text) -> Material:
    return Material(requirements=requirements_file.requirements(text))


def _document(text: Text) -> Material:
    """Prose and blocks; a block that is no whole file of its language is passed over."""
    document, blocks = markdown.parts(text)
    found = [Material(documents=(document,))]
    for block in blocks:
        reader = _READERS.get(_BLOCKS.get(block.language, ""))
        if reader:
            try:
                found.append(reader(Text(text.name, block.text, block.first)))
            except Unreadable:
                continue
    return joined(found)


_READERS: Final[dict[str, Reader]] = {
    "shell": _shell,
    "yaml": _yaml,
    "dockerfile": _dockerfile,
    "env": _env,
    "python": _python,
    "requirements": _requirements,
    "document": _document,
}
