"""`penstock compare`, between scripted engines, an Ollama and a real gateway."""

from __future__ import annotations

import asyncio
import hashlib
import os
import pty
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.cli.console import LIMIT, SCRIPT, Done, clean, run
from tests.cli.inside import inside
from tests.fakes.gateway import StartGateway

from penstock.faults.engine import Engine
from penstock.faults.ollama import OllamaDouble
from penstock.faults.script import Script

PROMPTS = "What is an alias?\nWhat is a target?\nWhich protocols are spoken here, and by whom?\n"
TEN = Script(count=10)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "prompts.txt").write_text(PROMPTS, encoding="utf-8")
    return tmp_path


async def process(folder: Path, a: str, b: str, *options: str, env: dict[str, str] | None = None) -> Done:
    """The real program, in this folder."""
    arguments = ("compare", a, b, "--prompts", "prompts.txt", *options)
    return await asyncio.to_thread(run, folder, *arguments, env=env)


async def compare(folder: Path, a: str, b: str, *options: str) -> Done:
    """The verb alone."""
    return await inside("compare", a, b, "--prompts", str(folder / "prompts.txt"), *options)


def speedups(data: Any) -> dict[str, Any]:  # noqa: ANN401 - what the JSON holds
    (level,) = data["levels"]
    return {one["measure"]: one for one in level["speedups"]}


async def test_an_engine_with_half_the_delay_between_tokens_is_shown_to_be_faster(
    folder: Path, scripted_engine: Engine
) -> None:
    """S1.2, S1.25, S1.30, S3.1, S3.12, S3.18, S4.2: measured side by side, told in the documents' form; twice the delay gives an interval without 1."""
    scripted_engine.script = Script(count=8, gap=0.03)
    names = ("--name-a", "Ollama", "--name-b", "vLLM")
    async with Engine(["m"], script=Script(count=8, gap=0.015)) as faster:
        done = await process(
            folder, scripted_engine.url, faster.url, *names, "--num-prompts", "12", "--report", "--html", "page.html"
        )
        assert len(scripted_engine.requests) == len(faster.requests) == 12 + 1
    assert done.code == 0, done.err
    assert re.search(
        r"^Ollama Time:  0\.\d+s\nvLLM Time:    0\.\d+s\nSpeedup:      \d\.\d+x faster\n"
        r"Improvement:  \d+\.\d% reduction\nInterval:     .+ to .+ \(95 %\)\nStatus:       ✓ \w+ - ",
        done.out,
        re.MULTILINE,
    )
    for measure in ("per output token, mean", "whole answer, mean", "requests/min", "output tokens/s"):
        assert re.search(rf"^{measure} .* \d\.\d+x \(\d\.\d+x to \d\.\d+x\)$", done.out, re.MULTILINE), measure
    report = (folder / "VLLM_INTEGRATION_REPORT.md").read_text(encoding="utf-8")
    assert "x faster" in report
    assert "<svg" in (folder / "page.html").read_text(encoding="utf-8")


async def test_both_get_the_same_prompts_and_neither_is_always_first(folder: Path, scripted_engine: Engine) -> None:
    scripted_engine.script = Script(count=4)
    done = await compare(folder, scripted_engine.url, scripted_engine.url, "--num-prompts", "24", "--json")
    rows = sorted(done.data["rows"], key=lambda row: row["sent"])
    asked = [(row["pair"], row["place"], row["line"]) for row in rows]
    assert asked[::2] == asked[1::2]
    assert {row["side"] for row in rows[::2]} == {"a", "b"}
    assert [row["completion_tokens"] for row in rows] == [4] * 48


async def test_an_engine_compared_with_itself_shows_no_speed_up(folder: Path, scripted_engine: Engine) -> None:
    """X10: equal engines, and words instead of a ratio. At this confidence it takes twenty pairs that all lean one way to fail."""
    scripted_engine.script = Script(count=5, first=0.004, gap=0.002)
    done = await compare(folder, scripted_engine.url, scripted_engine.url, "--confidence", "0.9999")
    assert done.code == 0, done.err
    assert "Speedup:        not shown: " in done.out
    assert "NO DIFFERENCE SHOWN" in done.out
    assert "faster" not in done.out
    assert "vLLM (A)" in done.out


async def test_a_move_from_ollamas_own_api_to_vllm(
    folder: Path, ollama_double: OllamaDouble, scripted_engine: Engine
) -> None:
    """S3.12: the baseline is what there is, over the API that is used now; counts are each engine's own."""
    ollama_double.script = scripted_engine.script = TEN
    done = await compare(
        folder, ollama_double.url, scripted_engine.url, "--api-a", "ollama", "--concurrency", "2", "--num-prompts", "8", "--json"
    )  # fmt: skip
    assert done.code == 0, done.err
    data = done.data
    assert (data["a"]["name"], data["a"]["wire"], data["a"]["model"]) == ("Ollama", "ollama", "llama3.2:latest")
    assert (data["b"]["name"], data["b"]["wire"], data["b"]["model"]) == ("vLLM", "openai", "m")
    (level,) = data["levels"]
    assert (level["pairs"], level["per_turn"]) == (2, 4)
    assert [level[side]["completion_tokens"] for side in "ab"] == [80, 80]
    assert {request.path for request in ollama_double.requests} == {"/api/chat"}
    assert "2 pairs are too few" in speedups(data)["total_mean"]["words"]


async def test_the_guide_over_either_protocol(folder: Path, guide_url: str) -> None:
    """S3.12: a real engine behind a real gateway says the same over both, and counts the same tokens."""
    options = ("--api-a", "ollama", "--api-b", "openai", "--num-prompts", "3", "--max-tokens", "8", "--json")
    done = await compare(folder, guide_url, guide_url, *options)
    assert done.code == 0, done.err
    (level,) = done.data["levels"]
    assert [level[side]["answered"] for side in "ab"] == [3, 3]
    assert level["a"]["completion_tokens"] == level["b"]["completion_tokens"] > 0
    assert [done.data[side]["wire"] for side in "ab"] == ["ollama", "openai"]


async def test_keys_come_from_the_environment_and_go_nowhere_else(
    folder: Path, gateway: StartGateway, scripted_engine: Engine
) -> None:
    secret = "sk-of-the-gateway"
    running = await gateway(
        {
            "backends": {"gpu": {"kind": "vllm", "url": scripted_engine.url}},
            "aliases": {"assistant": {"targets": [{"backends": ["gpu"], "model": "m"}]}},
            "callers": {"app": {"tenant": "t", "key_sha256": hashlib.sha256(secret.encode()).hexdigest()}},
        }
    )
    options = ("--model-a", "assistant", "--key-env-a", "MINE", "--num-prompts", "3")
    done = await process(folder, running.url, scripted_engine.url, *options, "--report", env={"MINE": secret})
    assert done.code == 0, done.err
    report = (folder / "VLLM_INTEGRATION_REPORT.md").read_text(encoding="utf-8")
    assert secret not in done.out + done.err + report
    straight = [request for request in scripted_engine.requests if request.header("user-agent") == "penstock-bench"]
    assert straight
    assert [request for request in straight if request.header("authorization")] == []
    refused = await process(folder, running.url, scripted_engine.url, "--model-a", "assistant")
    assert refused.code == 1
    assert "401" in refused.err
    assert "--key-env-a" in refused.err


async def test_an_endpoint_that_goes_down_half_way_leaves_a_partial_report(
    folder: Path, scripted_engine: Engine
) -> None:
    """Whatever was measured until then is told, as partial, in every form; the exit code is 1."""
    scripted_engine.script = Script(count=3, gap=0.002)
    async with Engine(["m"], script=Script(count=3, gap=0.002)) as dying:
        asked = asyncio.create_task(
            process(folder, scripted_engine.url, dying.url, "--seconds", "40", "--report", "--html", "page.html")
        )
        await dying.seen(15)
        await dying.stop()
        done = await asked
        await dying.start()
    assert done.code == 1
    assert done.out.startswith("PARTIAL: vLLM (B) no longer answers: ")
    assert "refused" in done.out.splitlines()[0]
    assert re.search(r"concurrency 1: \d+ pairs", done.out)
    assert "errors" in done.out
    assert "**Partial:**" in (folder / "VLLM_INTEGRATION_REPORT.md").read_text(encoding="utf-8")
    assert 'id="partial"' in (folder / "page.html").read_text(encoding="utf-8")


async def test_an_endpoint_that_comes_back_is_measured_on(folder: Path, scripted_engine: Engine) -> None:
    """After five errors in a row it is asked whether it is there; errors are counted, and the measurement is a whole one."""
    scripted_engine.script = TEN
    scripted_engine.next.extend([TEN] * 3 + [Script(cut_after=1)] * 14)
    done = await compare(folder, scripted_engine.url, scripted_engine.url, "--num-prompts", "20", "--json")
    assert done.code == 0, done.err
    (level,) = done.data["levels"]
    assert level["a"]["faults"]["broken"] + level["b"]["faults"]["broken"] == 14
    assert done.data["conditions"]["partial"] == ""
    assert any("failed; speed-ups are about the requests that both sides answered" in one for one in level["cautions"])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_an_interruption_leaves_a_partial_report_and_ends_the_engines_work(
    folder: Path, scripted_engine: Engine, number: signal.Signals, code: int
) -> None:
    scripted_engine.script = Script(count=3)
    process = await asyncio.create_subprocess_exec(
        *(SCRIPT, "compare", scripted_engine.url, scripted_engine.url, "--prompts", "prompts.txt", "--seconds", "60"),
        cwd=folder,
        env=clean(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    await scripted_engine.seen(12)
    hold = scripted_engine.hold(before=1)
    await hold.reached()
    process.send_signal(number)
    out, _ = await asyncio.wait_for(process.communicate(), LIMIT)
    assert process.returncode == code
    assert out.decode().startswith("PARTIAL: interrupted by ")
    assert "pairs of turns" in out.decode()
    await scripted_engine.aborted()


async def test_answers_of_different_lengths_are_pointed_out(folder: Path, scripted_engine: Engine) -> None:
    """Times of whole answers say nothing about engines that said different things."""
    scripted_engine.script = Script(count=5)
    async with Engine(["m"], script=Script(count=15)) as longer:
        done = await compare(folder, scripted_engine.url, longer.url)
    assert "the answers differ in length, 5 tokens from vLLM (A) and 15 from vLLM (B)" in done.out


async def test_arrivals_at_a_rate(folder: Path, scripted_engine: Engine) -> None:
    scripted_engine.script = TEN
    done = await compare(
        folder, scripted_engine.url, scripted_engine.url, "--rate", "3", "--num-prompts", "6", "--json"
    )
    assert done.code == 0, done.err
    (level,) = done.data["levels"]
    assert level["level"] == {"concurrency": None, "rate": 3.0}
    assert (level["pairs"], level["per_turn"]) == (1, 6)
    gaps = {}
    for side in "ab":
        due = sorted(row["due"] for row in done.data["rows"] if row["side"] == side)
        gaps[side] = [later - due[0] for later in due]
    assert gaps["a"] == pytest.approx(gaps["b"], abs=1e-5)  # both sides get the same arrivals
    assert level["a"]["late"]["count"] == 6


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--model-b", "nobody"), "does not exist"),
        (("--num-requests", "50"), "No such option"),
    ],
)
async def test_what_cannot_be_measured_is_told_before_anything_is(
    folder: Path, scripted_engine: Engine, options: tuple[str, ...], said: str
) -> None:
    """S3.24, W14: the document's --num-requests is no option here either."""
    done = await compare(folder, scripted_engine.url, scripted_engine.url, *options)
    assert done.code in {1, 2}
    assert said in done.err
    assert done.out == ""


async def test_a_bad_line_ends_it_and_the_rest_still_runs_with_keep_going(
    folder: Path, scripted_engine: Engine
) -> None:
    (folder / "prompts.txt").write_text('{"prompt": "good"}\n{"prompt": 1}\n', encoding="utf-8")
    done = await compare(folder, scripted_engine.url, scripted_engine.url)
    assert done.code == 2
    assert "line 2: Expected `str | null`" in done.err
    assert not scripted_engine.requests
    done = await compare(folder, scripted_engine.url, scripted_engine.url, "--keep-going", "--num-prompts", "2")
    assert done.code == 0, done.err
    assert "left out line 2: Expected `str | null`" in done.err
    assert "1 prompts of prompts.txt, 1 left out" in done.out


async def test_nobody_there(folder: Path, scripted_engine: Engine) -> None:
    async with Engine(["m"]) as gone:
        url = gone.url
    done = await compare(folder, scripted_engine.url, url)
    assert done.code == 1
    assert f"Asking {url}/v1/models: connection refused" in done.err


async def test_somebody_elses_report_is_not_written_over(folder: Path, scripted_engine: Engine) -> None:
    """S1.8: the file that a project wrote by hand stays."""
    (folder / "VLLM_INTEGRATION_REPORT.md").write_text("# Ours\n", encoding="utf-8")
    done = await process(folder, scripted_engine.url, scripted_engine.url, "--report")
    assert done.code == 2
    assert not scripted_engine.requests


async def test_several_models_need_a_name(folder: Path) -> None:
    async with Engine(["one", "two"]) as several:
        done = await compare(folder, several.url, several.url)
    assert done.code == 2
    assert "serves 2: one, two" in done.err
    assert "--model-a" in done.err


async def test_a_terminal_sees_how_far_it_is(folder: Path, scripted_engine: Engine) -> None:
    scripted_engine.script = Script(count=4, gap=0.02)
    master, slave = pty.openpty()
    arguments = ("compare", scripted_engine.url, scripted_engine.url, "--prompts", "prompts.txt", "--num-prompts", "10")
    process = await asyncio.create_subprocess_exec(
        *(SCRIPT, *arguments),
        cwd=folder,
        env={**clean(), "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=slave,
    )
    os.close(slave)
    reading = asyncio.create_task(asyncio.to_thread(_everything, master))
    out, _ = await asyncio.wait_for(process.communicate(), LIMIT)
    shown = await reading
    assert process.returncode == 0
    assert "concurrency 1" in shown
    assert re.search(r"\b\d+/20\b", shown)
    assert b"\x1b" not in out


def _everything(terminal: int) -> str:
    """What is written to a terminal until its other end is closed."""
    seen = b""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:
            piece = b""
        if not piece:
            os.close(terminal)
            return seen.decode(errors="replace")
        seen += piece
