"""Every logger of the process writes one shape on stderr; tried in a process of its own, whose loggers nobody else uses."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import logging, sys, structlog
from penstock.config import Log
from penstock.gateway import logs
logs.configure(Log(format=sys.argv[1], level="warning"))
structlog.stdlib.get_logger("penstock.fleet").info("not shown")
structlog.stdlib.get_logger("penstock.fleet").warning("backend down", backend="gpu")
logging.getLogger("uvicorn.error").warning("from %s", "uvicorn")
logging.getLogger("uvicorn.error").info("not shown")
logging.getLogger("python_multipart.multipart").warning("not shown: a form that cannot be read")
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("asyncio").exception("a task died")
"""


def run(kind: str) -> str:
    done = subprocess.run([sys.executable, "-c", PROGRAM, kind], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == ""
    return done.stderr


def test_json_lines() -> None:
    lines = [json.loads(line) for line in run("json").splitlines()]
    assert [line["event"] for line in lines] == ["backend down", "from uvicorn", "a task died"]
    assert [line["level"] for line in lines] == ["warning", "warning", "error"]
    assert [line["logger"] for line in lines] == ["penstock.fleet", "uvicorn.error", "asyncio"]
    assert lines[0]["backend"] == "gpu"
    assert "ZeroDivisionError" in lines[2]["exception"]
    assert all(line["time"].endswith("Z") for line in lines)


def test_lines_for_people_have_no_colours_in_a_file() -> None:
    text = run("console")
    assert "backend down" in text
    assert "backend=gpu" in text
    assert "ZeroDivisionError" in text
    assert "not shown" not in text
    assert "\x1b" not in text


def test_auto_is_json_where_nobody_looks() -> None:
    assert all(json.loads(line) for line in run("auto").splitlines())
