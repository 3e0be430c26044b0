"""The embedded engine itself: the real llama.cpp with the real guide, in its own process."""

from __future__ import annotations

import json
import math
import os
import select
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from models.guide.pairs import Pair
from tests.engine.wire import ask, chat
from tests.engines_fixtures import Engine, embedded_engine, first_line, guide_pairs

ENDS_WITHIN = 30.0
SAMPLE = [*guide_pairs()[::5], *guide_pairs("json", "unicode")]


def engine_process(*options: str, **more: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "penstock.engine.embedded", *options]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, **more)  # type: ignore[call-overload, no-any-return]


def refusal(*options: str) -> tuple[int, str]:
    """Exit status and the last line on stderr of an engine that does not start."""
    process = engine_process(*options)
    out, err = process.communicate(timeout=ENDS_WITHIN)
    assert out == b""
    return process.returncode, err.decode().strip().splitlines()[-1]


@pytest.mark.parametrize("pair", SAMPLE, ids=lambda pair: pair.question)
def test_answers_are_exact(guide_engine: Engine, pair: Pair) -> None:
    answer = chat(guide_engine.port, pair.question)
    choice = answer.json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == (pair.answer, "stop")


@pytest.mark.parametrize("pair", guide_pairs("unicode", "json")[::4], ids=lambda pair: pair.question)
def test_streams_say_the_same(guide_engine: Engine, pair: Pair) -> None:
    answer = chat(guide_engine.port, pair.question, stream=True, stream_options={"include_usage": True})
    *events, last = answer.events()
    pieces = [event["choices"][0]["delta"].get("content") or "" for event in events]
    assert "".join(pieces) == pair.answer
    assert last["choices"] == []
    assert 1 < last["usage"]["completion_tokens"] <= 600


def test_usage_is_the_engines_own_count(guide_engine: Engine) -> None:
    answer = chat(guide_engine.port, "Count to five.").json()
    usage = answer["usage"]
    content = answer["choices"][0]["message"]["content"]
    tokens = ask(guide_engine.port, "/tokenize", {"content": content}).json()["tokens"]
    assert usage["completion_tokens"] == len(tokens) + 1  # the end of the turn is a token too
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_a_system_message_and_an_earlier_turn_leave_the_answer_alone(guide_engine: Engine) -> None:
    messages = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "Hello!"},
        {"role": "assistant", "content": "Hello! I am the Penstock guide. What would you like to know?"},
        {"role": "user", "content": "What is an alias?"},
    ]
    body = {"model": "guide", "messages": messages, "temperature": 0}
    answer = ask(guide_engine.port, "/v1/chat/completions", body).json()
    assert (
        answer["choices"][0]["message"]["content"]
        == "An alias is the model name that a client asks for, such as llama3.2."
    )


def test_a_schema_is_kept(guide_engine: Engine) -> None:
    schema = {
        "type": "object",
        "properties": {"country": {"type": "string"}, "capital": {"type": "string"}},
        "required": ["country", "capital"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "capital", "schema": schema}}
    answer = chat(guide_engine.port, "Answer as JSON: what is the capital of Japan?", response_format=form)
    assert json.loads(answer.json()["choices"][0]["message"]["content"]) == {"country": "Japan", "capital": "Tokyo"}


def test_max_tokens_cuts_and_says_so(guide_engine: Engine) -> None:
    choice = chat(guide_engine.port, "Count from one to one hundred.", max_tokens=7).json()["choices"][0]
    assert choice["finish_reason"] == "length"


def test_a_prompt_beyond_the_slot_is_a_400(guide_engine: Engine) -> None:
    answer = chat(guide_engine.port, "water " * guide_engine.context)
    assert answer.status == 400
    assert answer.json()["error"]["type"] == "exceed_context_size_error"


def test_models_tells_the_alias_and_the_context_of_a_slot(guide_engine: Engine) -> None:
    model = ask(guide_engine.port, "/v1/models").json()["data"][0]
    assert (model["id"], model["meta"]["n_ctx"], model["meta"]["n_ctx_train"]) == ("guide", 2048, 2048)
    assert guide_engine.context == 2048


def test_it_listens_on_loopback_alone(guide_engine: Engine) -> None:
    table = Path(f"/proc/{guide_engine.process.pid}/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    listening = [row.split()[1] for row in table if row.split()[3] == "0A"]
    assert [row for row in listening if int(row[-4:], 16) == guide_engine.port] == [f"0100007F:{guide_engine.port:04X}"]


def test_no_page_in_a_browser_may_read_it(guide_engine: Engine) -> None:
    answer = ask(guide_engine.port, "/v1/models", Origin="https://evil.example")
    assert answer.headers.get("Access-Control-Allow-Origin", "") == ""
    assert ask(guide_engine.port, "/slots").status == 501


def test_embeddings_need_the_second_kind_of_instance(guide_engine: Engine) -> None:
    assert ask(guide_engine.port, "/v1/embeddings", {"model": "guide", "input": "water"}).status == 501


def test_embeddings_are_unit_vectors_that_depend_on_the_text_alone(guide_embedder: Engine) -> None:
    def vectors(*texts: str) -> list[list[float]]:
        answer = ask(guide_embedder.port, "/v1/embeddings", {"model": "guide", "input": list(texts)}).json()
        assert answer["usage"]["prompt_tokens"] > 0
        return [entry["embedding"] for entry in answer["data"]]

    together = vectors("What is an alias?", "Run `penstock up`.", "Grüße 🌊")
    alone = [vectors(text)[0] for text in ("What is an alias?", "Run `penstock up`.", "Grüße 🌊")]
    assert {len(vector) for vector in together} == {192}
    assert all(math.isclose(math.hypot(*vector), 1.0, rel_tol=1e-4) for vector in together)
    assert all(math.dist(one, other) < 1e-3 for one, other in zip(together, alone, strict=True))
    assert math.dist(together[0], together[1]) > 0.1


def test_embeddings_asked_for_at_the_same_time_do_not_mix(guide_embedder: Engine) -> None:
    def vector(text: str) -> list[float]:
        answer = ask(guide_embedder.port, "/v1/embeddings", {"model": "guide", "input": text}).json()
        found: list[float] = answer["data"][0]["embedding"]
        return found

    texts = [pair.question for pair in guide_pairs("about")]
    alone = [vector(text) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(vector, texts))
    assert all(math.dist(one, other) < 1e-3 for one, other in zip(together, alone, strict=True))


def test_a_long_text_is_embedded_in_one_piece(guide_embedder: Engine) -> None:
    text = next(pair.answer for pair in guide_pairs("long") if pair.question.startswith("Give me a complete tour"))
    answer = ask(guide_embedder.port, "/v1/embeddings", {"model": "guide", "input": text * 2})
    assert answer.status == 200
    assert answer.json()["usage"]["prompt_tokens"] > 512  # llama.cpp's own batch would be too small


def test_it_ends_with_its_stdin() -> None:
    process = engine_process("--model", "guide")
    assert json.loads(first_line(process, ENDS_WITHIN))["model"] == "guide"
    out, _ = process.communicate(timeout=ENDS_WITHIN)
    assert (process.returncode, out) == (0, b"")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_on_a_signal(number: signal.Signals) -> None:
    process = engine_process("--model", "guide")
    assert first_line(process, ENDS_WITHIN)
    process.send_signal(number)
    assert process.wait(ENDS_WITHIN) == 0
    process.communicate()


def test_it_does_not_outlive_a_killed_parent() -> None:
    script = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-P', '-m', 'penstock.engine.embedded'], stdin=-1, stdout=-1)\n"
        "print(child.stdout.readline() and child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        engine = os.pidfd_open(int(first_line(parent, ENDS_WITHIN)))
        parent.kill()
    try:
        assert select.select([engine], [], [], ENDS_WITHIN)[0], "the engine lives on"
    finally:
        os.close(engine)


def test_slots_and_context_are_what_was_asked_for() -> None:
    with embedded_engine("--slots", "2", "--context", "512", "--alias", "small") as engine:
        assert (engine.model, engine.context) == ("small", 512)
        model = ask(engine.port, "/v1/models").json()["data"][0]
        assert (model["id"], model["meta"]["n_ctx"]) == ("small", 512)


def test_a_missing_model_is_one_readable_sentence(tmp_path: Path) -> None:
    file = tmp_path / "none.gguf"
    status, words = refusal("--model", str(file))
    assert (status, words) == (
        2,
        f"Loading the model {file}: there is no such file. Check the path, or use the bundled model: guide.",
    )


def test_a_damaged_model_is_one_readable_sentence(tmp_path: Path) -> None:
    whole = Path(__file__).parents[2] / "models" / "guide" / "dist" / "guide-q8_0.gguf"
    file = tmp_path / "half.gguf"
    file.write_bytes(whole.read_bytes()[:200_000])
    status, words = refusal("--model", str(file))
    assert status == 2
    assert words.startswith(
        f"Loading the model {file} (architecture llama, 4 slots of 2048 tokens): llama.cpp refused it"
    )


def test_a_busy_port_is_one_readable_sentence() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        status, words = refusal("--port", str(port))
    assert status == 2
    assert (
        words == f"Listening on 127.0.0.1:{port}: Address already in use. Choose another --port, or 0 for a free one."
    )


def test_a_wrong_option_is_refused() -> None:
    status, words = refusal("--slots", "0")
    assert status == 2
    assert words.endswith("argument --slots: 0 is not between 1 and 256")
