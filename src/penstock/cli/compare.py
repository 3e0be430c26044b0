"""`penstock compare`: the same requests to two endpoints, and whether one of them is really faster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from penstock.bench.endpoint import Wanted, apart, find, origin_of
from penstock.bench.integration import FILE, replaceable, report_text
from penstock.bench.load import Ending, Side
from penstock.bench.page import comparison_page, drawable
from penstock.bench.pairs import compare as measure
from penstock.bench.plan import Plan
from penstock.bench.report import compared, compared_rows
from penstock.bench.results import Comparison
from penstock.bench.speech import Wish
from penstock.bench.text import comparison_text
from penstock.bench.workload import Workload, read_workload
from penstock.cli import measuring
from penstock.cli.screen import note, out, print_json

Api = Annotated[str, typer.Option(help="openai, ollama, or auto: OpenAI where it is spoken.")]


def compare(  # noqa: PLR0913 - one parameter an option
    a: Annotated[str, typer.Argument(help="URL of an engine or a gateway: what there is now.", metavar="A")],
    b: Annotated[str, typer.Argument(help="URL of the other one: what might replace it.", metavar="B")],
    *,
    prompts: measuring.Prompts,
    concurrency: measuring.Concurrency = "",
    rate: measuring.Rate = "",
    seconds: measuring.Seconds = None,
    num_prompts: measuring.NumPrompts = None,
    max_tokens: measuring.MaxTokens = 128,
    ignore_eos: measuring.IgnoreEos = False,
    model: Annotated[str, typer.Option(help="The model to ask of both.")] = "",
    model_a: Annotated[str, typer.Option(help="The model to ask of A.")] = "",
    model_b: Annotated[str, typer.Option(help="The model to ask of B.")] = "",
    name_a: Annotated[str, typer.Option(help="What to call A.")] = "",
    name_b: Annotated[str, typer.Option(help="What to call B.")] = "",
    api_a: Api = "auto",
    api_b: Api = "auto",
    key_env_a: Annotated[str, typer.Option(help="The environment variable that holds A's key.")] = "",
    key_env_b: Annotated[str, typer.Option(help="The environment variable that holds B's key.")] = "",
    timeout: measuring.Timeout = 600.0,
    seed: measuring.Seed = 0,
    confidence: Annotated[float, typer.Option(help="Of the intervals.", min=0.5, max=0.9999, metavar="P")] = 0.95,
    keep_going: measuring.KeepGoing = False,
    as_json: measuring.AsJson = False,
    html: measuring.Html = None,
    report: Annotated[bool, typer.Option("--report", help=f"Write {FILE} in this folder.")] = False,
) -> None:
    """Send the same requests to two endpoints, turn by turn, and say what differs.

    A speed-up is printed with its interval, and not at all where the interval includes 1.
    """
    levels = measuring.levels_of(concurrency, rate)
    workload = read_workload(prompts, keep_going=keep_going)
    plan = Plan(
        levels=levels,
        prompts=workload.prompts,
        requests=num_prompts,
        seconds=seconds,
        seed=seed,
        confidence=confidence,
    )
    wanted = (
        _wanted(a, model_a or model, name_a, api_a, key_env_a, "-a"),
        _wanted(b, model_b or model, name_b, api_b, key_env_b, "-b"),
    )
    measuring.writable(html, "--html")
    if html is not None:
        drawable()
    if report:
        replaceable(Path(FILE))
    measuring.tell_left_out(workload)
    wish = Wish(max_tokens=max_tokens, ignore_eos=ignore_eos)
    found, code = measuring.run(lambda ending: _compared(wanted, plan, workload, wish, timeout, ending))
    _tell(found, as_json=as_json, html=html, report=report)
    answered = all(side.answered for level in found.levels for side in (level.a, level.b))
    if code or found.conditions.partial or not answered:
        raise typer.Exit(code or 1)


def _wanted(url: str, model: str, name: str, api: str, key_env: str, side: str) -> Wanted:
    return Wanted(
        url=url,
        key=measuring.key_in(key_env, f"--key-env{side}"),
        model=model,
        name=name,
        wire=measuring.wire_of(api, f"--api{side}"),
        side=side,
    )


async def _compared(
    wanted: tuple[Wanted, Wanted], plan: Plan, workload: Workload, wish: Wish, timeout: float, ending: Ending
) -> Comparison:
    origins = [origin_of(one) for one in wanted]
    progress = measuring.Progressed()
    try:
        a, b = apart(*[await find(origin, one) for origin, one in zip(origins, wanted, strict=True)])
        sides = [Side(one, origin, wish, timeout, ending) for one, origin in zip((a, b), origins, strict=True)]
        began = measuring.Began()
        with progress.shown():
            measured = await measure(sides[0], sides[1], plan, ending, progress)
    finally:
        for origin in origins:
            origin.close()
    levels = tuple(compared(level, plan, (a.name, b.name)) for level in measured)
    requests = sum(level.a.requests for level in levels)
    return Comparison(
        conditions=began.conditions(plan, workload, wish, requests, ending.reason),
        a=a,
        b=b,
        levels=levels,
        rows=tuple(compared_rows(measured, began.clock)),
    )


def _tell(found: Comparison, *, as_json: bool, html: Path | None, report: bool) -> None:
    if as_json:
        print_json(msgspec.json.decode(msgspec.json.encode(found)))  # JSON has no infinity: an endless rate is null
    else:
        out.print(comparison_text(found), markup=False)
    if html is not None:
        measuring.write(html, comparison_page(found), "the page")
        note(f"the page with plots is in {html}")
    if report:
        measuring.write(Path(FILE), report_text(found), "the report")
        note(f"the report is in {FILE}")
