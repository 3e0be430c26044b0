"""The four guides that the documents promise are true: what they tell the reader to do is done here, block by block."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.guides.page import GUIDES, NOT_RUN, ROOT, blocks_of, standins, text_of
from tests.guides.reader import Reader

from penstock.client import ClientConfig, LLMConfig, VLLMConfig
from penstock.doctor.files import gather
from penstock.doctor.report import report
from penstock.environment import ENGINE_URLS, FLAGS, NAMES, OLLAMA_URLS
from penstock.model_names import TAGS

SETUP = "VLLM_SETUP_GUIDE.md"
FOLLOWS = "test_a_guide_does_what_it_says"
SPEED = re.compile(
    r"\d\s?[x×]\b|\b\d[\d.]*\s?(?:%|percent)\s+(?:faster|reduction|savings|less)|q(?:ueries)?/min|queries/minute|times faster",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def readers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[None]]]:
    """One reader for each guide, all at the same time: most of what they do is waiting."""
    chosen = {item.callspec.params["page"] for item in request.session.items if FOLLOWS in item.name}  # type: ignore[attr-defined]
    with ThreadPoolExecutor(len(GUIDES)) as pool:
        yield {page: pool.submit(follow, page, tmp_path_factory.mktemp("reader")) for page in sorted(chosen)}


def follow(page: str, folder: Path) -> None:
    """A guide from its first block to its last, with the stand-ins for engines that it asks for."""
    (folder / "empty").mkdir()
    with Reader(folder / "empty") as reader:
        for block in [] if page == SETUP else standins():
            reader.follow(block)
        for block in blocks_of(page):
            reader.follow(block)


@pytest.mark.timeout(300)  # they share the machine, and whatever else runs on it
@pytest.mark.parametrize("page", GUIDES)
def test_a_guide_does_what_it_says_from_an_empty_folder(page: str, readers: dict[str, Future[None]]) -> None:
    """Every command, in order, as it stands; what is shown as printed is printed.

    S1.8, S3.28. S1.28, W18: what an 8B model takes, worked out. S3.13: both engines beside each other, one service, both APIs, times,
    memory. S3.15: streaming, batching, memory, where time goes. S3.16: Ollama as an option. S3.19: how to measure any machine.
    """
    readers[page].result()


@pytest.mark.parametrize("page", GUIDES)
def test_what_is_not_run_says_so_and_the_doctor_finds_nothing_in_it(page: str, tmp_path: Path) -> None:
    """S1.29, S1.39: images, options, volumes, ports and health checks of what needs a GPU, vLLM or Docker."""
    blocks = [block for block in blocks_of(page) if block.fate == "gpu"]
    assert [block.place for block in blocks if NOT_RUN not in block.before] == []
    for block in blocks:
        (tmp_path / block.name).write_text(block.text, encoding="utf-8")
    done = report(gather([tmp_path]), [])
    assert len(done.files) == len(blocks)
    assert [f"{finding.rule} {finding.evidence[0].place}: {finding.wrong}" for finding in done.findings] == []
    assert list(done.notes) == []


@pytest.mark.parametrize("page", GUIDES)
def test_what_another_test_runs_is_there(page: str) -> None:
    assert [block.place for block in blocks_of(page) if block.by and not (ROOT / block.by).is_file()] == []


@pytest.mark.parametrize("page", GUIDES)
def test_no_guide_promises_a_speed(page: str) -> None:
    """X10, S1.30, S3.18: no constant in any document; what holds is measured by the reader."""
    assert SPEED.findall(text_of(page)) == []


def test_the_configuration_reference_is_that_of_the_code() -> None:
    """S1.8, S1.19: each setting of VLLMConfig with its default, the names of the others, each name of the environment."""
    page = text_of("VLLM_INTEGRATION.md")
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", page, re.MULTILINE))
    assert rows == {name: str(field.default) for name, field in VLLMConfig.model_fields.items()}
    told = page.partition("`llm`, which is Ollama:")[2].partition("\n\n")[0]
    assert [
        name for name in (*LLMConfig.model_fields, *ClientConfig.model_fields) if f"`{name}`" not in told + page
    ] == []
    environment = page.partition("### Environment")[2].partition("###")[0]
    assert [name for name in (*FLAGS, *ENGINE_URLS, *OLLAMA_URLS, *NAMES) if f"`{name}`" not in environment] == []


def test_the_parts_that_the_document_promises_are_there() -> None:
    """S1.8: quick start, configuration reference, troubleshooting, performance tips, questions; S3.28: setup from scratch, tuning, how to move, test and go back."""
    titles = {page: " ".join(re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)).lower() for page in GUIDES}
    promised = {
        "VLLM_INTEGRATION.md": [
            "quick start",
            "configuration reference",
            "troubleshooting",
            "performance tips",
            "questions",
        ],
        "VLLM_SETUP_GUIDE.md": [
            "which machine",
            "which model",
            "start vllm",
            "install penstock",
            "before others use it",
        ],
        "VLLM_PERFORMANCE_GUIDE.md": [
            "streaming",
            "batching",
            "memory",
            "the engine's options",
            "where does the time go",
        ],
        "VLLM_MIGRATION_GUIDE.md": ["test vllm beside ollama", "service by service", "without ollama", "the way back"],
    }
    assert [f"{page}: {word}" for page, words in promised.items() for word in words if word not in titles[page]] == []


def test_the_models_that_are_named_are_known_by_both_names() -> None:
    """S3.20, W4: a family of the document's on each row, with the id for vLLM and the tag for Ollama."""
    rows = re.findall(r"^\| ([\w .]+) \| `([^`]+)` \| `([^`]+)` \|$", text_of(SETUP), re.MULTILINE)
    assert {family.split()[0] for family, _, _ in rows} == {"Llama", "Mistral", "Zephyr", "CodeLlama", "Phi"}
    assert {hub: tag for _, hub, tag in rows} == {hub: TAGS[hub][0] for _, hub, _ in rows}
