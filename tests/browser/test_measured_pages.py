"""The pages of `penstock compare --html` and `penstock bench --html` as a browser shows them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from tests.bench_verbs.made import load_test
from tests.cli.console import run
from tests.openwebui.browser import Browser

from penstock.bench.page import load_page
from penstock.faults.engine import Engine
from penstock.faults.script import Script

pytestmark = pytest.mark.asyncio(loop_scope="session")

PICTURES = os.environ.get("PENSTOCK_PICTURES", "")
LOADED = "return performance.getEntriesByType('resource').map(one => one.name)"
EMPTY = """
return [...document.querySelectorAll('figure svg')].filter(svg => {
  const box = svg.getBoundingClientRect();
  return box.width < 200 || box.height < 100 || !svg.querySelector('.plot')?.getBBox().width;
}).length
"""
WIDER = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
CUT = """
return [...document.querySelectorAll('figure svg')].flatMap(svg => {
  const edge = svg.getBoundingClientRect();
  return [...svg.querySelectorAll('text')].filter(text => {
    const box = text.getBoundingClientRect();
    return box.width && (box.left < edge.left - 1 || box.right > edge.right + 1 || box.bottom > edge.bottom + 1);
  }).map(text => text.textContent);
})
"""
POINTED = """
const mark = document.querySelectorAll('figure')[arguments[0]].querySelector('.dots, .bar');
const box = mark.querySelector('circle, rect').getBoundingClientRect();
mark.querySelector('circle, rect').dispatchEvent(
  new MouseEvent('mousemove', {bubbles: true, clientX: box.left + box.width / 2, clientY: box.top + box.height / 2}));
const tip = document.getElementById('tip');
return [getComputedStyle(tip).display, tip.textContent]
"""


async def shown(browser: Browser, file: Path) -> None:
    """It stands alone, every plot has something in it, nothing is cut off, and a value shows under the pointer."""
    await browser.open(file.as_uri())
    if PICTURES:
        await browser.shot(Path(PICTURES) / f"{file.stem}.png")
    assert await browser.script(LOADED) == []
    assert await browser.script(EMPTY) == 0
    assert await browser.script(WIDER) <= 0
    assert await browser.script(CUT) == []


async def test_a_comparison_that_was_measured(browser: Browser, tmp_path: Path) -> None:
    """S1.30: two engines, two levels, one page."""
    (tmp_path / "prompts.txt").write_text("one\ntwo\nthree\n", encoding="utf-8")
    async with (
        Engine(["m"], script=Script(count=6, gap=0.012)) as a,
        Engine(["m"], script=Script(count=6, gap=0.004)) as b,
    ):
        done = await asyncio.to_thread(
            run, tmp_path, "compare", a.url, b.url, "--prompts", "prompts.txt", "--concurrency", "1,2", "--num-prompts", "48",
            "--name-a", "Ollama <b>", "--name-b", "vLLM", "--html", "compared.html",
        )  # fmt: skip
    assert done.code == 0, done.err
    await shown(browser, tmp_path / "compared.html")
    text = await browser.script("return document.body.innerText")
    assert "Ollama <b> and vLLM" in text
    assert "x faster" in text
    display, value = await browser.script(POINTED, 0)
    assert display == "block"
    assert float(value.split("\n")[-1]) > 1
    assert (await browser.script(POINTED, 1))[0] == "block"


async def test_a_load_test(browser: Browser, tmp_path: Path) -> None:
    """S0.3: tokens a second, the queue and the cache."""
    file = tmp_path / "loaded.html"
    await asyncio.to_thread(file.write_text, load_page(load_test(10, 20, 40)), encoding="utf-8")
    await shown(browser, file)
    assert await browser.script("return document.querySelectorAll('figure').length") == 10
    legend = "return [...document.querySelectorAll('figure')[1].querySelectorAll('.legends text')].map(one => one.textContent)"
    assert await browser.script(legend) == ["P50", "P95", "P99"]
    assert (await browser.script(POINTED, 0))[0] == "block"


async def test_a_page_may_load_nothing_even_if_it_wanted_to(browser: Browser, tmp_path: Path) -> None:
    """The policy in the page holds in a browser: a picture from elsewhere is refused."""
    file = tmp_path / "policy.html"
    await asyncio.to_thread(file.write_text, load_page(load_test(10)), encoding="utf-8")
    await browser.open(file.as_uri())
    script = """
    window.refused = '';
    document.addEventListener('securitypolicyviolation', event => { window.refused = event.effectiveDirective });
    document.body.append(Object.assign(document.createElement('img'), {src: 'http://127.0.0.1:9/x.png'}));
    return true
    """
    await browser.script(script)
    assert await browser.until("return window.refused", what="the refusal") == "img-src"
