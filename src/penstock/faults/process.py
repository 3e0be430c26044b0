"""The scripted engine as a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from pathlib import Path

import msgspec

from penstock.faults.condition import Model
from penstock.faults.engine import Engine
from penstock.faults.plan import Plan, read
from penstock.faults.script import parse


def main() -> None:
    """Serve until SIGTERM or SIGINT; the first line on stdout is JSON with the URL."""
    parser = argparse.ArgumentParser(prog="python -m penstock.faults.engine", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one and prints it")
    parser.add_argument("--model", action="append", required=True, help="served model name; may be given again")
    parser.add_argument("--window", type=int, default=4096, help="context length every model claims")
    parser.add_argument("--script", default="{}", help="JSON of the script for requests without one of their own")
    parser.add_argument(
        "--scenario", type=Path, help="YAML or JSON: scripts for the first requests, one each, and for the rest"
    )
    options = parser.parse_args()
    try:
        script = parse(options.script)
    except msgspec.DecodeError as error:
        parser.error(f"--script {options.script}: {error}")
    plan = Plan(then=script)
    if options.scenario is not None:
        try:
            plan = read(options.scenario)
        except (OSError, msgspec.MsgspecError) as error:
            parser.error(f"--scenario {options.scenario}: {error}")
    models = [Model(name, options.window) for name in options.model]
    engine = Engine(models, script=plan.then, port=options.port)
    engine.next.extend(plan.requests)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(engine))


async def _serve(engine: Engine) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with engine:
        line = {"url": engine.url, "models": list(engine.models)}
        sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
        sys.stdout.flush()
        await stopped.wait()
