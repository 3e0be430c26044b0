"""W30: a fallback that can never happen, and settings of a client that nobody reads."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from penstock.rules.finding import Evidence, Finding
from penstock.rules.material import Material, Module
from penstock.rules.reading.python_code import (
    calls,
    dotted,
    functions,
    keyword,
    literal,
    meaning,
    parameters,
)
from penstock.rules.rule import Rule, finding

FACTORY: Final = "create_llm"
CHECKS: Final = frozenset({"health_check", "_health_check", "check_health", "_check_health", "is_healthy"})
SENT: Final = frozenset({"top_k", "top_p", "max_tokens", "retry_attempts", "retry_delay", "timeout", "temperature"})
"""What a client is given for its requests: each of these must be read somewhere."""
WHOLESALE: Final = frozenset({"vars", "locals", "__dict__", "asdict"})
"""Ways to read all of an object's fields without naming one."""
RETRIEVERS: Final = frozenset({"retrieve", "aretrieve"})


def look(material: Material) -> Iterator[Finding]:
    read = {name for module in material.modules for name in _read(module)}
    for module in material.modules:
        yield from _untested(module)
        for client in module.classes:
            if any(function.name in {"invoke", "ainvoke"} for function in functions(client)):
                yield from _client(module, client, read)
    yield from _retrieved(material)


def _untested(module: Module) -> Iterator[Finding]:
    """`create_llm(…, test_connection=False)`, unless it is ours, which falls back at the first call as well."""
    made = [
        call
        for call in module.calls
        if dotted(call.func).rpartition(".")[2] == FACTORY
        and not meaning(call.func, module.names).startswith("penstock.")
        and literal(keyword(call, "test_connection")) is False
    ]
    first = [call for call in module.calls if _first_question(call)]
    for call in made:
        yield finding(
            "W30",
            "the factory never touches the network, so it cannot fail and never falls back; the first question then ends the start after every retry",
            "create_llm(config, test_connection=True), or penstock.compat.tactical.create_llm, which falls back wherever the engine fails",
            module.at(call),
            *(module.at(one) for one in first),
        )


def _first_question(call: ast.Call) -> bool:
    """`llm.invoke("…")` with a text of its own, also through `asyncio.to_thread(llm.invoke, "…")`."""
    asked = [one for one in (call.func, *call.args[:1]) if dotted(one).endswith("llm.invoke")]
    return bool(asked) and any(isinstance(literal(one), str) for one in call.args)


def _client(module: Module, client: ast.ClassDef, read: set[str]) -> Iterator[Finding]:
    for call in _unread_checks(client):
        yield finding(
            "W30",
            "the health check's answer is not read: False is as good as True, and no fallback follows",
            "raise when the check says no, where the factory can catch it and fall back",
            module.at(call),
        )
    unread = list(_unread_settings(module, client, read))
    if unread:
        names = ", ".join(dict.fromkeys(name for name, _ in unread))
        yield finding(
            "W30",
            f"{names}: taken by the constructor and read nowhere, so that setting it changes nothing",
            "send it with the request (top_k is a field of vLLM's), or use it in the loop of retries",
            *(at for _, at in unread),
        )
    for sleep in _linear(client):
        yield finding(
            "W30",
            "the pause grows by the same step each time: this backoff is linear, not exponential",
            "delay * 2 ** attempt, with jitter, a limit for the whole call and the server's Retry-After",
            module.at(sleep),
        )


def _unread_checks(client: ast.ClassDef) -> Iterator[ast.AST]:
    for node in ast.walk(client):
        value = node.value if isinstance(node, ast.Expr) else None
        value = value.value if isinstance(value, ast.Await) else value
        if isinstance(value, ast.Call) and dotted(value.func).rpartition(".")[2] in CHECKS:
            yield value


def _read(module: Module) -> Iterator[str]:
    """Every name and attribute that is looked at, and every text that may be a field's name; not what is only passed on to `self.x`."""
    stored = {
        id(node.value)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Name)
    }
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            yield node.attr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and id(node) not in stored:
            yield node.id
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _unread_settings(module: Module, client: ast.ClassDef, read: set[str]) -> Iterator[tuple[str, Evidence]]:
    """Parameters of the constructor that are stored at most, and never looked at again in any of the files."""
    made = next((one for one in functions(client) if one.name == "__init__"), None)
    if made is None or read & WHOLESALE:
        return
    for name in sorted((parameters(made) & SENT) - read):
        parameter = next(
            one for one in (*made.args.args, *made.args.kwonlyargs, *made.args.posonlyargs) if one.arg == name
        )
        yield name, module.at(parameter)


def _linear(client: ast.ClassDef) -> Iterator[ast.AST]:
    """`sleep(delay * attempt)` where `attempt` counts a loop."""
    for loop in ast.walk(client):
        if not isinstance(loop, ast.For):
            continue
        counters = {node.id for node in ast.walk(loop.target) if isinstance(node, ast.Name)}
        for call in calls(loop):
            if dotted(call.func).rpartition(".")[2] == "sleep" and call.args and _by_steps(call.args[0], counters):
                yield call


def _by_steps(pause: ast.expr, counters: set[str]) -> bool:
    if not isinstance(pause, ast.BinOp) or not isinstance(pause.op, ast.Mult):
        return False
    inside = [node for node in ast.walk(pause) if isinstance(node, ast.BinOp)]
    grows = any(isinstance(node.op, ast.Pow | ast.LShift) for node in inside)
    return not grows and any(isinstance(node, ast.Name) and node.id in counters for node in ast.walk(pause))


def _retrieved(material: Material) -> Iterator[Finding]:
    """A retriever asked with a keyword that none of the files' retrievers takes."""
    taken: set[str] = set()
    found: list[tuple[Module, ast.FunctionDef | ast.AsyncFunctionDef]] = []
    for module in material.modules:
        for function in module.functions:
            if function.name in RETRIEVERS:
                taken |= parameters(function) | ({"*"} if function.args.kwarg else set())
                found.append((module, function))
    if not found or "*" in taken:
        return
    for module in material.modules:
        for call in module.calls:
            if isinstance(call.func, ast.Attribute) and call.func.attr in RETRIEVERS:
                wrong = [one.arg for one in call.keywords if one.arg and one.arg not in taken]
                if wrong:
                    where, definition = found[0]
                    yield finding(
                        "W30",
                        f"{call.func.attr}({wrong[0]}=…): the retriever takes no such argument, so every question ends in a TypeError",
                        f"call it with {', '.join(sorted(taken - {'self'}))}",
                        module.at(call),
                        where.at(definition),
                    )


RULE = Rule(
    row="W30",
    title="a fallback that cannot happen, settings that nobody reads",
    today="fall back where the call fails; `penstock.client` does so at creation, at the first call and in mid-life",
    reads="Python",
    look=look,
)
