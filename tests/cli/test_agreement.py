"""`penstock agreement`: two embedded engines over the wire, an engine that answers wrongly, and files of answers."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml
from models.guide.pairs import load_pairs
from tests.cli.console import Done, run
from tests.fakes.gateway import Gateway, Gateways
from tests.fakes.raw import once

from penstock.cli import main
from penstock.faults.engine import Engine
from penstock.faults.script import Script
from penstock.state.pairs import Pairs, Row
from penstock.state.store import Store

QUESTIONS = [pair for pair in load_pairs() if 20 < len(pair.answer) < 120][:6]
WRONG = ("I", " am", " sure", " it", " is", " blue", ".")
FORMS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/v1/chat/completions", {"temperature": 0, "stream": True}),
    ("/api/chat", {"options": {"temperature": 0}, "stream": False}),
)


@dataclass(frozen=True, slots=True)
class Site:
    """A gateway whose pairs are complete."""

    gateway: Gateway
    folder: Path

    def agreement(self, *arguments: str) -> Done:
        """The verb on the pairs of this gateway, in this process: a dozen starts of Python would be most of the work."""
        return within("agreement", "--config", str(self.gateway.config), *arguments)


def within(*arguments: str) -> Done:
    """A command as the script runs it, without a process of its own."""
    said, told, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["penstock", *arguments]
    try:
        with redirect_stdout(said), redirect_stderr(told):
            main()
    except SystemExit as end:
        return Done(int(end.code or 0), said.getvalue(), told.getvalue())
    finally:
        sys.argv = before
    return Done(0, said.getvalue(), told.getvalue())


async def _paired(gateway: Gateway, count: int) -> None:
    async with asyncio.timeout(40):
        while True:
            page = (await once(gateway.url, "/metrics")).body.decode()
            rows = [row for row in page.splitlines() if row.startswith("penstock_shadow_pairs_total{")]
            if sum(float(row.rpartition(" ")[2]) for row in rows) == count:
                return
            await asyncio.sleep(0.05)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """Every question was asked of two aliases in two protocols: one shadow is the same model, one answers wrongly."""
    folder = tmp_path_factory.mktemp("agreement")
    async with AsyncExitStack() as life:
        wrong = await life.enter_async_context(Engine(["m"], script=Script(tokens=WRONG)))
        gateways = Gateways(folder, "hot")
        life.push_async_callback(gateways.close)
        shadow = {"share": "100%", "keep": "text", "slots": 20}
        own = {"targets": [{"backends": ["one"], "model": "guide"}]}
        gateway = await gateways.start(
            {
                "backends": {
                    "one": {"kind": "embedded", "slots": 1},
                    "two": {"kind": "embedded", "slots": 1},
                    "wrong": {"kind": "vllm", "url": wrong.url},
                },
                "aliases": {
                    "same": {**own, "shadow": {**shadow, "backends": ["two"], "model": "guide"}},
                    "other": {**own, "shadow": {**shadow, "backends": ["wrong"], "model": "m"}},
                },
            }
        )
        await gateway.until("/ready", lambda page: page["status"] == "ready")
        asked = 0
        for alias in ("same", "other"):
            for question in QUESTIONS:
                for path, fields in FORMS:
                    messages = [{"role": "user", "content": question.question}]
                    answer = await once(gateway.url, path, {"model": alias, "messages": messages, **fields})
                    assert answer.status == 200
                    asked += 1
                    await _paired(gateway, asked)
        yield Site(gateway, folder)


def test_an_engine_agrees_with_itself(site: Site) -> None:
    """S3.26: the same model behind two engines, sampling off: every answer is the same."""
    count = len(QUESTIONS) * len(FORMS)
    done = site.agreement("same", "--json")
    assert (done.code, done.err) == (0, "")
    report = done.data
    assert (report["pairs"], report["compared"]) == (count, count)
    assert (report["agreed"]["count"], report["agreed"]["of"]) == (count, count)
    assert report["measures"].keys() == {"text, sampling off"}
    assert report["shared"]["tenth"] == 1.0
    assert report["examples"] == []
    text = site.agreement("same").out
    assert text.startswith(f"same: {count} pairs of primary and shadow")
    assert "\nagreed                100.0 %" in text
    assert "Nothing got worse" in text


def test_a_wrong_engine_is_shown_with_examples(site: Site) -> None:
    """S3.25, S3.26: what differs is told, with the words of both."""
    done = site.agreement("other", "--examples", "2")
    assert done.code == 0
    assert "\nagreed                0.0 %" in done.out
    assert "example 2: text differs from word 1 on" in done.out
    assert "example 3" not in done.out
    assert "shadow   I am sure it is blue." in done.out
    assert any(question.question in done.out for question in QUESTIONS)


def test_golden_facts(site: Site) -> None:
    """S3.26: facts that a right answer has, which the wrong engine does not know."""
    facts = site.folder / "golden.jsonl"
    lines = [{"prompt": one.question, "facts": [" ".join(one.answer.split()[:3])]} for one in QUESTIONS]
    facts.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    report = site.agreement("other", "--golden", str(facts), "--json").data
    count = len(QUESTIONS) * len(FORMS)
    assert (report["facts"]["first"]["count"], report["facts"]["second"]["count"]) == (0, count)
    assert report["facts"]["finding"] == "worse"
    text = site.agreement("other", "--golden", str(facts)).out
    assert "\nshadow is worse than primary in: missing facts.\n" in text, text
    assert site.agreement("same", "--golden", str(facts), "--json").data["facts"]["finding"] == "no difference shown"


def test_a_pipeline_may_decide_by_it(site: Site) -> None:
    assert site.agreement("same", "--at-least", "70%").code == 0
    sure = site.agreement("same", "--at-least", "0.99")
    assert sure.code == 1
    assert "may be as low as" in sure.err
    assert site.agreement("other", "--at-least", "1%").code == 1
    wrong = site.agreement("same", "--at-least", "most")
    assert wrong.code == 2
    assert "a share such as 95%" in wrong.err


def test_a_page(site: Site) -> None:
    page = site.folder / "report.html"
    done = site.agreement("other", "--html", str(page))
    assert done.code == 0
    written = page.read_text(encoding="utf-8")
    assert written.startswith("<!doctype html>")
    assert "I am sure it is blue." in written
    assert "http" not in written
    assert site.agreement("other", "--html", str(site.folder / "no" / "folder.html")).code == 2


def test_which_aliases_have_pairs(site: Site) -> None:
    count = len(QUESTIONS) * len(FORMS)
    assert site.agreement().out.splitlines() == [f"other  {count} pairs", f"same  {count} pairs"]
    assert site.agreement("--json").data == {"other": count, "same": count}
    unknown = site.agreement("sane")
    assert unknown.code == 2
    assert "did you mean 'same'?" in unknown.err


def test_nothing_is_made_where_nothing_is(tmp_path: Path) -> None:
    done = run(tmp_path, "agreement", "assistant")
    assert done.code == 2
    assert "holds none" in done.err
    assert list(tmp_path.iterdir()) == []


def files(folder: Path, *texts: str) -> list[str]:
    """A file of answers for each text; every line of it is one answer."""
    paths = []
    for name, text in zip(("old", "new"), texts, strict=True):
        path = folder / f"{name}.jsonl"
        lines = [{"id": str(number), "text": line} for number, line in enumerate(text.splitlines())]
        path.write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
        paths.append(str(path))
    return paths


def test_two_files_of_answers(tmp_path: Path) -> None:
    """S3.26: without any gateway."""
    done = run(tmp_path, "agreement", "--answers", *files(tmp_path, "a\nb c\nalone", "a\nb d"))
    assert done.code == 0
    assert done.out.startswith("answers: 2 pairs of old and new; 1 answers found no partner")
    assert "agreed            50.0 %" in done.out


def test_a_wrong_line_of_a_file_is_named(tmp_path: Path) -> None:
    old, new = files(tmp_path, "a", "a")
    Path(new).write_text('{"id": "1"}\n{"id": 1}\n', encoding="utf-8")
    done = within("agreement", "--answers", old, new)
    assert done.code == 2
    assert "new.jsonl:2: Expected `str`, got `int`" in done.err
    done = within("agreement", "--answers", old, str(tmp_path / "gone"))
    assert (done.code, "No such file" in done.err) == (2, True)


def test_pairs_of_another_version(site: Site) -> None:
    url = yaml.safe_load(site.gateway.config.read_text(encoding="utf-8"))["state"]
    with Store(url) as store:
        Pairs(store).keep(Row("old", "local", 1.0, '{"id": 7}'), 10)
    done = site.agreement("old")
    assert done.code == 2
    assert "another version of Penstock wrote them" in done.err
    assert site.agreement("old", "--forget").code == 0


def test_pairs_are_forgotten(site: Site) -> None:
    """The last one of its module: nothing is left of that alias."""
    count = len(QUESTIONS) * len(FORMS)
    assert site.agreement("other", "--forget").out == f"{count} pairs of other dropped\n"
    assert site.agreement("--json").data == {"same": count}
