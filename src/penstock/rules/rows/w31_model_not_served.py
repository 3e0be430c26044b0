"""W31: a client asks for a name that the engine does not serve, and takes the 404 for a missing route."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from penstock.rules.engine import Engine, engines
from penstock.rules.finding import Evidence, Finding
from penstock.rules.material import Material, Module, Scrape, Setting
from penstock.rules.reading.python_code import keyword, literal, meaning
from penstock.rules.reading.variables import expand, latest
from penstock.rules.rows.w01_base_url_name import CLIENTS
from penstock.rules.rows.w06_metrics_port import reached
from penstock.rules.rule import Rule, finding

URLS = ("VLLM_URL", "VLLM_HOST", "OPENAI_BASE_URL", "OPENAI_API_BASE")
MODELS = ("VLLM_MODEL", "OPENAI_MODEL", "LLM_MODEL")


def look(material: Material) -> Iterator[Finding]:
    found = [engine for engine in engines(material) if engine.served]
    for scope in _scopes(material, found):
        known = latest(scope)
        url = next((known[name] for name in URLS if name in known and known[name].value), None)
        model = next((known[name] for name in MODELS if name in known and known[name].value), None)
        if url and model:
            yield from _judged(expand(model.value, known).text, expand(url.value, known).text, found, model.at, url.at)
    for module in material.modules:
        yield from _code(module, found)


def _scopes(material: Material, found: list[Engine]) -> Iterator[tuple[Setting, ...]]:
    """What one client sees together; an engine is no client of its own."""
    own = {engine.at for engine in found}
    for service in material.services:
        if service.at not in own:
            yield service.settings
    for file in material.env_files:
        yield file.settings
    for script in material.scripts:
        yield script.settings


def _code(module: Module, found: list[Engine]) -> Iterator[Finding]:
    """An OpenAI client with its URL in the code, and the names that the same file asks for."""
    made = [call for call in module.calls if meaning(call.func, module.names) in CLIENTS]
    urls = [(keyword(call, "base_url"), literal(keyword(call, "base_url"))) for call in made]
    known = [(node, url) for node, url in urls if isinstance(url, str) and node is not None]
    if len(known) != 1:
        return
    for call in module.calls:
        model = literal(keyword(call, "model"))
        if isinstance(model, str) and call not in made:
            yield from _judged(
                model, known[0][1], found, module.at(keyword(call, "model") or call), module.at(known[0][0])
            )


def _judged(model: str, url: str, found: list[Engine], *at: Evidence) -> Iterator[Finding]:
    engine = _engine_at(url, found, at[0])
    if engine is None or "$" in model or model in engine.served:
        return
    told = engine.launch.model.at if engine.launch and engine.launch.model else engine.at
    yield finding(
        "W31",
        f"the client asks for `{model}`, and the engine serves `{', '.join(engine.served)}`: each request ends in 404 «The model … does not exist»,"
        " which is no missing route",
        f"ask for `{engine.served[0]}`, or start the engine with --served-model-name {model}",
        *at,
        told,
    )


def _engine_at(url: str, found: list[Engine], at: Evidence) -> Engine | None:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        asked = Scrape(host=parts.hostname or "", port=str(parts.port or 80), path="", at=at)
    except ValueError:
        return None
    return next((engine for engine in found if reached(asked, engine) == engine.port), None)


RULE = Rule(
    row="W31",
    title="a model name that the engine does not serve",
    today='vLLM answers 404 with «The model … does not exist»; only `{"detail": "Not Found"}` means a wrong path',
    reads="compose, Kubernetes, env files, shell, Python; live: see the checks",
    look=look,
)
