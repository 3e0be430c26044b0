"""`penstock up`: from nothing to an answer, in one command."""

from __future__ import annotations

import json
import os
from typing import Annotated

import typer
from rich.text import Text

from penstock.address import Address
from penstock.cli import start
from penstock.cli.first_questions import Asked, ask_both
from penstock.cli.gateway_process import GatewayProcess
from penstock.cli.screen import complain, err, note, out, print_json, step
from penstock.cli.talk import DEFAULT_URL, KEY_NAME, Gateway
from penstock.config import Config
from penstock.errors import ConfigError, PenstockError


def up(
    *,
    model: Annotated[
        str | None,
        typer.Option(help="`guide`, the path of a GGUF file, or a name on the Hugging Face hub.", metavar="MODEL"),
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="The port to listen on; 0 takes a free one.", min=0, max=65535, metavar="N")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Ask, print, stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="What was asked and answered, as JSON.")] = False,
) -> None:
    """Start the gateway and an engine, ask two questions, and keep serving until Ctrl-C.

    Engines found on this machine are offered, else the bundled model serves. `--model` starts the embedded engine with
    a model of your own.
    """
    loaded = start.configured(model, port)
    for line in loaded.notes:
        note(line)
    config = loaded.config
    if once and not _may_ask(config):
        raise ConfigError(
            f"Asking {config.default_alias}: callers are configured, and {KEY_NAME} holds no key.",
            hint=f"Set {KEY_NAME} to the key of one of them: {', '.join(config.callers)}.",
        )
    file = start.write(config)
    with GatewayProcess(file, start.LOG, drain=config.limits.drain) as process:
        with step(f"starting the gateway on {config.listen[0]}"):
            gateway = Gateway(_url(process.address(), config), os.environ.get(KEY_NAME, ""))
        with step(f"waiting for the engine behind {config.default_alias}"):
            seconds = process.wait_until_ready(gateway, config.default_alias)
        # From here on an interruption is the ordinary end.
        try:
            asked = _asked(gateway, config, once=once)
            if as_json:
                print_json(_facts(gateway, config, process.pid, seconds, asked))
            else:
                _tell(gateway, config, seconds, asked, once=once)
            if not once:
                process.wait()
        except KeyboardInterrupt:
            err.print()
        code = process.stop()
    raise typer.Exit(code)


def _may_ask(config: Config) -> bool:
    return not config.callers or bool(os.environ.get(KEY_NAME))


def _url(address: Address, config: Config) -> str:
    """How a client on this machine reaches the address."""
    host = "127.0.0.1" if address.wildcard else address.host
    return f"{'https' if config.tls else 'http'}://{address._replace(host=host)}"


def _asked(gateway: Gateway, config: Config, *, once: bool) -> list[Asked]:
    """Both answers. A failure ends `--once`; otherwise it is told, and the gateway stays up to be looked at."""
    if not _may_ask(config):
        note(f"nothing was asked: callers are configured, and {KEY_NAME} holds no key")
        return []
    try:
        with step(f"asking {config.default_alias}"):
            return ask_both(gateway, config.default_alias)
    except PenstockError as error:
        if once:
            raise
        complain(error)
        return []


def _facts(gateway: Gateway, config: Config, pid: int, seconds: float, asked: list[Asked]) -> dict[str, object]:
    return {
        "url": gateway.url,
        "openai": f"{gateway.url}/v1",
        "ollama": gateway.url,
        "models": list(config.aliases),
        "pid": pid,
        "ready_seconds": round(seconds, 3),
        "asked": [one._asdict() for one in asked],
    }


def _tell(gateway: Gateway, config: Config, seconds: float, asked: list[Asked], *, once: bool) -> None:
    for one in asked:
        out.print(Text.assemble((f"{one.api} API", "bold cyan"), f"  {one.question}"))
        out.print(Text(one.answer))
        counts = f"{one.prompt_tokens} + {one.completion_tokens} tokens, {one.seconds:.2f} s"
        out.print(Text(f"{one.model or config.default_alias} from {one.backend or 'unknown'}, {counts}\n", "dim"))
    if once:
        return
    url = gateway.url
    model = config.default_alias
    where = "" if url == DEFAULT_URL else f" --url {url}"
    out.print(Text.assemble(("Ready", "bold green"), f" after {seconds:.1f} s, serving {', '.join(config.aliases)}.\n"))
    out.print(Text(f"  OpenAI   {url}/v1\n  Ollama   {url}\n  log      {start.LOG}\n"))
    out.print(Text("Try next:", "bold"))
    question = json.dumps({"model": model, "messages": [{"role": "user", "content": "What is an alias?"}]})
    out.print(Text(f"  penstock chat{where}"))
    out.print(Text(f"  penstock models{where}"))
    out.print(Text(f"  curl {url}/v1/chat/completions -H 'content-type: application/json' -d '{question}'"))
    out.print(Text(f"  curl {url}/api/chat -d '{question}'"))
    out.print(Text(f"  OPENAI_BASE_URL={url}/v1 OPENAI_API_KEY=none  your application"))
    out.print(Text(f"  OLLAMA_HOST={url}  your application\n"))
    err.print(Text("Ctrl-C stops.", "dim"))
