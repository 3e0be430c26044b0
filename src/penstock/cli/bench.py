"""`penstock bench`: one endpoint under load, and what its queue and its cache do meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from penstock.bench.endpoint import Wanted, find, origin_of
from penstock.bench.gauges import look, tells
from penstock.bench.ladder import climb
from penstock.bench.load import Ending, Side
from penstock.bench.page import drawable, load_page
from penstock.bench.plan import Plan
from penstock.bench.report import loaded, loaded_rows
from penstock.bench.results import LoadTest
from penstock.bench.speech import Wish
from penstock.bench.text import load_text
from penstock.bench.wire import Origin
from penstock.bench.workload import Workload, read_workload
from penstock.cli import measuring
from penstock.cli.screen import note, out, print_json


def bench(  # noqa: PLR0913 - one parameter an option
    url: Annotated[str, typer.Argument(help="URL of an engine or a gateway.", metavar="URL")],
    *,
    prompts: measuring.Prompts,
    concurrency: measuring.Concurrency = "",
    rate: measuring.Rate = "",
    seconds: measuring.Seconds = None,
    num_prompts: measuring.NumPrompts = None,
    max_tokens: measuring.MaxTokens = 128,
    ignore_eos: measuring.IgnoreEos = False,
    model: Annotated[str, typer.Option(help="The model to ask; needed where several are served.")] = "",
    name: Annotated[str, typer.Option(help="What to call it.")] = "",
    api: Annotated[str, typer.Option(help="openai, ollama, or auto: OpenAI where it is spoken.")] = "auto",
    key_env: Annotated[str, typer.Option(help="The environment variable that holds its key.")] = "",
    metrics: Annotated[
        str, typer.Option(help="URL of the engine whose /metrics is watched, if not the one that is asked.")
    ] = "",
    timeout: measuring.Timeout = 600.0,
    seed: measuring.Seed = 0,
    keep_going: measuring.KeepGoing = False,
    as_json: measuring.AsJson = False,
    html: measuring.Html = None,
) -> None:
    """Load an endpoint, level after level: a closed loop at --concurrency, random arrivals at --rate.

    Tokens a second, latencies and errors, and from the engine's own metrics what ran, what waited and how full its KV cache was.
    """
    workload = read_workload(prompts, keep_going=keep_going)
    plan = Plan(
        levels=measuring.levels_of(concurrency, rate),
        prompts=workload.prompts,
        requests=num_prompts,
        seconds=seconds,
        seed=seed,
    )
    key = measuring.key_in(key_env, "--key-env")
    wanted = Wanted(url=url, key=key, model=model, name=name, wire=measuring.wire_of(api, "--api"))
    measuring.writable(html, "--html")
    if html is not None:
        drawable()
    measuring.tell_left_out(workload)
    wish = Wish(max_tokens=max_tokens, ignore_eos=ignore_eos)
    found, code = measuring.run(lambda ending: _loaded(wanted, metrics, plan, workload, wish, timeout, ending))
    _tell(found, as_json=as_json, html=html)
    if code or found.conditions.partial or not all(level.summary.answered for level in found.levels):
        raise typer.Exit(code or 1)


async def _loaded(
    wanted: Wanted, metrics: str, plan: Plan, workload: Workload, wish: Wish, timeout: float, ending: Ending
) -> LoadTest:
    origin = origin_of(wanted)
    # The engine's own page needs no key of the gateway's, and gets none.
    watched = origin_of(Wanted(url=metrics)) if metrics else origin
    progress = measuring.Progressed()
    try:
        endpoint = await find(origin, wanted)
        endpoint = endpoint if endpoint.name else msgspec.structs.replace(endpoint, name="the endpoint")
        source = await _source(watched)
        began = measuring.Began()
        with progress.shown():
            side = Side(endpoint, origin, wish, timeout, ending)
            climbed = await climb(side, plan, (watched, "/metrics") if source else None, ending, progress)
    finally:
        origin.close()
        watched.close()
    return LoadTest(
        conditions=began.conditions(plan, workload, wish, sum(len(level.samples) for level in climbed), ending.reason),
        endpoint=endpoint,
        metrics=source,
        levels=tuple(map(loaded, climbed)),
        rows=tuple(loaded_rows(climbed, began.clock)),
    )


async def _source(watched: Origin) -> str:
    """Where the engine's figures come from; empty where there are none."""
    gauge = await look(watched, "/metrics", 0.0)
    return f"{watched.url}/metrics" if gauge is not None and tells(gauge) else ""


def _tell(found: LoadTest, *, as_json: bool, html: Path | None) -> None:
    if as_json:
        print_json(msgspec.json.decode(msgspec.json.encode(found)))  # JSON has no infinity: an endless rate is null
    else:
        out.print(load_text(found), markup=False)
    if html is not None:
        measuring.write(html, load_page(found), "the page")
        note(f"the page with plots is in {html}")
