"""Files of prompts, good and bad."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.bench.workload import Workload, read_workload
from penstock.errors import ConfigError


def written(folder: Path, content: str | bytes, name: str = "prompts.txt") -> Path:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def texts(workload: Workload) -> list[list[tuple[str, str]]]:
    return [[(one.role, one.content) for one in prompt.messages] for prompt in workload.prompts]


def test_lines_of_text(tmp_path: Path) -> None:
    found = read_workload(written(tmp_path, "\ufeffWhat is RAG?\r\n\n  And NER? \n"))
    assert texts(found) == [[("user", "What is RAG?")], [("user", "And NER?")]]
    assert [prompt.line for prompt in found.prompts] == [1, 3]
    assert found.digest.startswith("sha256:")


def test_json_lines(tmp_path: Path) -> None:
    lines = [
        {"prompt": "one", "id": 7},
        {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "two"}]},
        {
            "conversations": [
                {"from": "system", "value": "x"},
                {"from": "human", "value": "three"},
                {"from": "gpt", "value": "4"},
            ]
        },
    ]
    found = read_workload(written(tmp_path, "\n".join(map(json.dumps, lines))))
    assert texts(found) == [
        [("user", "one")],
        [("system", "Be brief."), ("user", "two")],
        [("user", "three")],
    ]


def test_sharegpts_array(tmp_path: Path) -> None:
    entries = [{"id": "a", "conversations": [{"from": "human", "value": "one"}]}, {"prompt": "two"}]
    found = read_workload(written(tmp_path, json.dumps(entries, indent=1), "ShareGPT.json"))
    assert texts(found) == [[("user", "one")], [("user", "two")]]


BAD = '{"prompt": "good"}\n{"prompt": 3}\n\n{"prompt": "good too"}\n{"prompt": "  "}\nno json\n{"text": "x"}\n'


def test_bad_lines_are_named_by_their_numbers(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        read_workload(written(tmp_path, BAD))
    message = refused.value.message
    assert "line 2: Expected `str | null`, got `int` - at `$.prompt`" in message
    assert "line 5: an empty prompt" in message
    assert "line 6: " in message
    assert "line 7: an object with prompt, messages or conversations is expected" in message
    assert "line 1" not in message
    assert "--keep-going" in refused.value.hint


def test_the_rest_still_runs_with_keep_going(tmp_path: Path) -> None:
    found = read_workload(written(tmp_path, BAD), keep_going=True)
    assert texts(found) == [[("user", "good")], [("user", "good too")]]
    assert [fault.partition(":")[0] for fault in found.faults] == ["line 2", "line 5", "line 6", "line 7"]


def test_many_bad_lines_are_counted(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"line 10: .*, and 90 more"):
        read_workload(written(tmp_path, '{"prompt": 1}\n' * 100))


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="line 2: not UTF-8"):
        read_workload(written(tmp_path, b"one\n\xff\xfe\nthree\n"))


@pytest.mark.parametrize("content", ["", "\n\n", " \n"])
def test_an_empty_file_has_no_prompt(tmp_path: Path, content: str) -> None:
    with pytest.raises(ConfigError, match="no prompt in it"):
        read_workload(written(tmp_path, content))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_workload(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="is a directory"):
        read_workload(tmp_path)


def test_a_broken_array(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not JSON"):
        read_workload(written(tmp_path, '[{"prompt": "one"}, {"pro', "p.json"))


@given(content=st.binary(max_size=300), suffix=st.sampled_from(["txt", "jsonl", "json", "md"]))
def test_any_bytes_are_prompts_or_a_readable_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    try:
        found = read_workload(written(folder, content, f"p.{suffix}"), keep_going=True)
    except ConfigError as error:
        assert error.message.startswith("Reading ")  # noqa: PT017 - either is right
    else:
        assert all(message.content for prompt in found.prompts for message in prompt.messages)
