from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import msgspec
import pytest
from tests.fakes.raw import once

from penstock.faults.plan import Plan, read
from penstock.faults.script import HEALTHY, Script

YAML = """
requests:
  - {status: 500, message: not now}
  - {}
then: {status: 429, retry_after: "7"}
"""


def test_a_file_is_a_list_or_says_what_comes_then(tmp_path: Path) -> None:
    file = tmp_path / "faults.yaml"
    file.write_text(YAML, encoding="utf-8")
    first = Script(status=500, message="not now")
    assert read(file) == Plan(requests=(first, HEALTHY), then=Script(status=429, retry_after="7"))
    file.write_text('[{"cut_after": 3, "cut": "fin"}]', encoding="utf-8")
    assert read(file) == Plan(requests=(Script(cut_after=3, cut="fin"),))


def test_a_wrong_key_is_named(tmp_path: Path) -> None:
    file = tmp_path / "faults.yaml"
    file.write_text("requests: [{cutafter: 3}]", encoding="utf-8")
    with pytest.raises(msgspec.ValidationError, match="cutafter"):
        read(file)


async def test_an_engine_plays_the_file_request_by_request(tmp_path: Path) -> None:
    file = tmp_path / "faults.yaml"
    file.write_text(YAML, encoding="utf-8")
    command = [sys.executable, "-P", "-m", "penstock.faults.engine", "--model", "m", "--scenario", str(file)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        url = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))["url"]
        body = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
        answers = [await once(url, "/v1/chat/completions", body) for _ in range(4)]
        assert [answer.status for answer in answers] == [500, 200, 429, 429]
        assert answers[0].error == "not now"
        assert answers[3].header("retry-after") == "7"
    finally:
        process.terminate()
        await process.wait()
