"""`penstock answers`: every prompt of a file asked of one endpoint, its answers as lines that `penstock agreement` compares.

Sampling is off, one prompt after the other: this is about what an engine says, not how fast. An endpoint is anything that
speaks OpenAI: an engine, Ollama, or a gateway.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.progress import track

from penstock.agreement.answer import Answer as Said
from penstock.agreement.answer import ToolCall
from penstock.agreement.lines import Line, written
from penstock.bench.workload import Prompt, Workload, read_workload
from penstock.cli.models import listed
from penstock.cli.screen import err, note, out
from penstock.cli.talk import KEY_NAME, Answer, Gateway
from penstock.errors import BrokenAnswer, ConfigError, EngineFault, Unreachable
from penstock.protocols import refusal
from penstock.protocols.heard import hear

PATH = "/v1/chat/completions"


def answers(
    url: Annotated[str, typer.Argument(help="URL of an engine or a gateway.", metavar="URL")],
    *,
    prompts: Annotated[Path, typer.Option(help="A file of prompts: lines of text, or JSON lines.", metavar="FILE")],
    model: Annotated[str, typer.Option(help="The model to ask; the first that is listed where not given.")] = "",
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 256,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds without a byte after which an answer fails.")
    ] = 120.0,
    key_env: Annotated[str, typer.Option(help="The environment variable that holds the key.")] = KEY_NAME,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Leave out lines of the file that cannot be used.")
    ] = False,
) -> None:
    """Ask every prompt of a file and print the answers as JSON lines, for `penstock agreement --answers`."""
    if key_env != KEY_NAME and key_env not in os.environ:
        raise ConfigError(f"--key-env {key_env}: no such variable in the environment.", hint=f"export {key_env}=…")
    workload = read_workload(prompts, keep_going=keep_going)
    for fault in workload.faults:
        note(f"left out: {fault}")
    gateway = Gateway(url, os.environ.get(key_env, ""))
    asked = model or _first(gateway)
    failed = 0
    for line in _lines(gateway, workload, asked, max_tokens, timeout):
        out.file.write(written(line) + "\n")
        failed += bool(line.error)
    out.file.flush()
    if failed:
        note(f"{failed} of {len(workload.prompts)} prompts got no whole answer; their lines say why")
    if failed == len(workload.prompts):
        raise typer.Exit(1)


def _lines(gateway: Gateway, workload: Workload, model: str, max_tokens: int, timeout: float) -> Iterator[Line]:
    # Of the file and the line: two files that are not of the same prompts are not paired.
    whose = workload.digest.removeprefix("sha256:")[:12]
    for prompt in track(workload.prompts, f"asking {model}", console=err, transient=True):
        body = {
            "model": model,
            "messages": msgspec.to_builtins(prompt.messages),
            "temperature": 0,
            "max_tokens": max_tokens,
            "stream": False,
        }
        began = time.perf_counter()
        try:
            answer = gateway.post(PATH, body, silence=timeout)
        except EngineFault as fault:
            if isinstance(fault, Unreachable) and prompt is workload.prompts[0]:
                raise
            yield _line(whose, prompt, Said(error=fault.message, status=0))
            continue
        yield _line(whose, prompt, _heard(answer, time.perf_counter() - began))


def _first(gateway: Gateway) -> str:
    entries = listed(gateway)
    if not entries:
        raise ConfigError(f"Asking {gateway.url}: it lists no model.", hint="Name one with --model.")
    return str(entries[0]["id"])


def _heard(answer: Answer, seconds: float) -> Said:
    raw = msgspec.json.encode(answer.data)
    if answer.status != 200:
        return Said(error=f"{answer.status}: {refusal.message_of(raw)}", status=answer.status)
    try:
        heard = hear(PATH, raw, stream=False)
    except BrokenAnswer as broken:
        return Said(error=broken.message)
    usage = answer.data.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    return Said(
        text=heard.text,
        refusal=heard.refusal,
        tools=tuple(ToolCall(name, arguments) for name, arguments in heard.calls),
        finish=heard.finish,
        prompt_tokens=int(counts.get("prompt_tokens") or 0),
        completion_tokens=int(counts.get("completion_tokens") or 0),
        seconds=round(seconds, 6),
        backend=answer.headers.get("x-penstock-backend", ""),
        model=str(answer.data.get("model") or ""),
    )


def _line(whose: str, prompt: Prompt, said: Said) -> Line:
    last = next((one.content for one in reversed(prompt.messages) if one.role == "user"), "")
    return Line(id=f"{whose}:{prompt.line}", prompt=last, greedy=True, **msgspec.structs.asdict(said))
