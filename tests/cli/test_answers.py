"""`penstock answers`: a file of prompts asked of an engine, and its answers compared with another's."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.cli.console import Done, run

from penstock.faults.engine import Engine
from penstock.faults.script import Script

PROMPTS = ("what is a target", "what is an alias", "what is a shadow")


def prompts(folder: Path) -> str:
    file = folder / "prompts.jsonl"
    lines = [{"prompt": text, "facts": [text.split()[-1]]} for text in PROMPTS]
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return str(file)


async def penstock(folder: Path, *arguments: str) -> Done:
    """The script, while this loop serves its engines."""
    return await asyncio.to_thread(run, folder, *arguments)


def lines(done: Done) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.out.splitlines()]


async def test_two_engines_are_compared_without_a_gateway(tmp_path: Path, scripted_engine: Engine) -> None:
    """S3.26: before any real request goes to the new engine."""
    asked = prompts(tmp_path)
    old = await penstock(tmp_path, "answers", scripted_engine.url, "--prompts", asked)
    assert (old.code, [line["text"] for line in lines(old)]) == (0, list(PROMPTS)), old.err
    assert all(line["greedy"] and line["completion_tokens"] == 4 and line["finish"] == "stop" for line in lines(old))
    assert json.loads(scripted_engine.requests[0].body)["temperature"] == 0
    scripted_engine.next.append(Script(tokens=("what", " is", " a", " goal")))
    scripted_engine.next.append(Script(status=500, message="out of luck"))
    new = await penstock(tmp_path, "answers", f"{scripted_engine.url}/v1", "--prompts", asked, "--model", "m")
    assert (new.code, "1 of 3 prompts got no whole answer" in new.err) == (0, True)
    assert lines(new)[1]["error"] == "500: out of luck"
    for name, done in (("old", old), ("new", new)):
        (tmp_path / f"{name}.jsonl").write_text(done.out, encoding="utf-8")
    files = ("--answers", "old.jsonl", "new.jsonl", "--golden", asked, "--json")
    report = (await penstock(tmp_path, "agreement", *files)).data
    assert (report["pairs"], report["compared"], report["agreed"]["count"]) == (3, 2, 1)
    assert report["measures"].keys() == {"text, sampling off"}
    assert (report["facts"]["first"]["count"], report["facts"]["second"]["count"]) == (0, 1)
    assert [pair["verdict"]["outcome"] for pair in report["examples"]] == ["second_failed", "differed"]


async def test_an_endpoint_that_answers_nothing(tmp_path: Path, scripted_engine: Engine) -> None:
    asked = prompts(tmp_path)
    scripted_engine.script = Script(status=500, message="out of luck")
    done = await penstock(tmp_path, "answers", scripted_engine.url, "--prompts", asked, "--model", "m")
    assert (done.code, len(lines(done))) == (1, 3)
    await scripted_engine.stop()
    gone = await penstock(tmp_path, "answers", scripted_engine.url, "--prompts", asked, "--model", "m")
    assert (gone.code, gone.out) == (1, "")
    assert "connection refused" in gone.err


def test_what_cannot_be_asked(tmp_path: Path) -> None:
    url = "http://127.0.0.1:9"
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text('{"prompt": "a"}\n{"prompt": 1}\n', encoding="utf-8")
    done = run(tmp_path, "answers", url, "--prompts", str(wrong))
    assert (done.code, "line 2" in done.err) == (2, True)
    done = run(tmp_path, "answers", url, "--prompts", str(wrong), "--key-env", "NO_SUCH_NAME")
    assert (done.code, "NO_SUCH_NAME" in done.err) == (2, True)
