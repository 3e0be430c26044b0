"""Python files as syntax trees that know their lines, and what a tree's names mean. Nothing of it is ever run."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Iterator

from penstock.rules.material import Module
from penstock.rules.reading.text import Text, Unreadable


def module(text: Text) -> Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # other people's escapes are their affair
            tree = ast.parse(text.text)
    except SyntaxError as broken:
        raise Unreadable(f"{text.name}:{(broken.lineno or 1) - 1 + text.first}: not Python: {broken.msg}") from None
    except (ValueError, RecursionError, MemoryError) as broken:
        raise Unreadable(f"{text.name}: not Python: {broken}") from None
    nodes = list(ast.walk(tree))
    return Module(
        source=text,
        tree=tree,
        names=_imported(nodes),
        calls=tuple(node for node in nodes if isinstance(node, ast.Call)),
        functions=tuple(node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)),
        classes=tuple(node for node in nodes if isinstance(node, ast.ClassDef)),
    )


def _imported(nodes: Iterable[ast.AST]) -> dict[str, str]:
    names: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            for one in node.names:
                first = one.name.partition(".")[0]
                names[one.asname or first] = one.name if one.asname else first
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            names |= {one.asname or one.name: f"{origin}.{one.name}" for one in node.names}
    return names


def dotted(node: ast.AST) -> str:
    """`self.llm.invoke` of an expression that is names and attributes only; empty for any other."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def meaning(node: ast.AST, names: dict[str, str]) -> str:
    """The same with the first name replaced by what was imported under it."""
    name = dotted(node)
    first, dot, rest = name.partition(".")
    return names.get(first, first) + dot + rest


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    """The value of a keyword argument."""
    return next((one.value for one in call.keywords if one.arg == name), None)


def literal(node: ast.AST | None) -> object:
    """The value of a constant; None for anything else."""
    return node.value if isinstance(node, ast.Constant) else None


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """Every name that it can be called with."""
    given = function.args
    return {one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)}
