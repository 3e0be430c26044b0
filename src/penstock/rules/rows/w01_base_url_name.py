"""W1: `OPENAI_API_BASE` does not redirect today's OpenAI client, and a model's name in the code stays what it is."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from penstock.rules.engine import commands, related
from penstock.rules.finding import Evidence, Finding
from penstock.rules.material import Material, Module, Setting
from penstock.rules.reading.flags import base, program
from penstock.rules.reading.python_code import keyword, literal, meaning
from penstock.rules.rule import Rule, finding

OLD = "OPENAI_API_BASE"
NEW = "OPENAI_BASE_URL"
READERS = ("penstock", "litellm", "langchain", "langflow", "flowise", "llama-index", "llama_index", "aider")
"""Programs and images that read the old name themselves."""
CLIENTS = frozenset({"openai.OpenAI", "openai.AsyncOpenAI"})


def look(material: Material) -> Iterator[Finding]:
    if any(_reads_old_name(module) for module in material.modules):
        return
    for scope in _scopes(material):
        named = {setting.name: setting for setting in scope}
        if OLD in named and NEW not in named:
            yield finding(
                "W1",
                f"{OLD} redirects only LangChain and openai before 1.0; today's openai client ignores it and asks api.openai.com",
                f"set {NEW} to the same URL (and leave {OLD} beside it if LangChain reads it)",
                named[OLD].at,
            )
    fixed = [at for module in material.modules for at in _fixed_models(module)]
    pointed = [
        one.at for scope in _scopes(material) for one in scope if one.name in {OLD, NEW} and _elsewhere(one.value)
    ]
    near = [at for at in pointed if any(related(at, one) for one in fixed)]
    if near:
        yield finding(
            "W1",
            "the base URL is redirected, but the code asks for a model of OpenAI's by name, which the engine does not serve",
            "take the model's name from the configuration, or serve the model under that name (--served-model-name, or an alias of the gateway)",
            *fixed,
            near[0],
        )


def _scopes(material: Material) -> Iterator[tuple[Setting, ...]]:
    """The settings that one program sees together."""
    for service in material.services:
        if not any(reader in service.image.lower() for reader in READERS):
            yield service.settings
    for file in material.env_files:
        yield file.settings
    for script in material.scripts:
        yield script.settings
    for command in commands(material):
        started = [base(words[0]) for words in program(command.words)]
        if not any(reader in name for name in started for reader in READERS):
            yield command.settings


def _reads_old_name(module: Module) -> bool:
    """Code that reads the old name, or a library that does."""
    names = module.names.values()
    if any(name.startswith(("langchain_openai", "langchain_community", "llama_index", "litellm")) for name in names):
        return True
    if OLD not in module.source.text:
        return False
    return any(isinstance(node, ast.Constant) and node.value == OLD for node in ast.walk(module.tree))


def _fixed_models(module: Module) -> Iterator[Evidence]:
    """`model="gpt-…"` in a module that makes an OpenAI client without saying where."""
    made = [call for call in module.calls if meaning(call.func, module.names) in CLIENTS]
    if not made or any(keyword(call, "base_url") for call in made):
        return
    for call in module.calls:
        model = literal(keyword(call, "model"))
        if isinstance(model, str) and model.startswith(("gpt-", "o1", "o3", "o4", "text-embedding-", "chatgpt")):
            yield module.at(keyword(call, "model") or call)


def _elsewhere(url: str) -> bool:
    return "://" in url and "api.openai.com" not in url


RULE = Rule(
    row="W1",
    title="`OPENAI_API_BASE` for a client that reads `OPENAI_BASE_URL`",
    today="openai ≥ 1 reads `OPENAI_BASE_URL`; LangChain still reads the old name",
    reads="compose, Kubernetes, env files, shell, Python",
    look=look,
)
