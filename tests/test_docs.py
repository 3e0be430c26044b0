"""The documents agree with each other and with the code they speak of."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from penstock import errors
from penstock.cli import app
from penstock.gateway import metrics
from penstock.protocols.table import ROUTES
from penstock.sources import load

ROOT = Path(__file__).parents[1]
SKIPPED = {"build", "dist", "node_modules", "state"}
PAGES = sorted(
    page.relative_to(ROOT)
    for page in ROOT.rglob("*.md")
    if not any(part in SKIPPED or part.startswith(".") for part in page.relative_to(ROOT).parts[:-1])
)
OURS = [page for page in PAGES if page != Path("docs/reference/requirements.md")]
"""Pages in our own words: the acceptance table quotes other projects."""
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def text_of(page: Path) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def anchors_of(page: Path) -> set[str]:
    """The anchors that headings get where Markdown is shown as a page."""
    titles = re.findall(r"^#{1,6} (.+)$", CODE.sub(lambda found: found[0].strip("`"), text_of(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_relative_links_lead_somewhere(page: Path) -> None:
    broken = []
    for one, other in LINK.findall(CODE.sub("", text_of(page))):
        target = one or other
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (ROOT / page.parent / name).resolve() if name else ROOT / page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors_of(file.relative_to(ROOT))):
            broken.append(target)
    assert broken == []


def test_every_page_of_docs_is_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [Path("README.md")]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        for one, other in LINK.findall(CODE.sub("", text_of(page))):
            name = (one or other).partition("#")[0]
            file = (ROOT / page.parent / name).resolve()
            if name and not re.match(r"[a-z]+:", name) and file.is_relative_to(ROOT) and file.is_file():
                waiting.append(file.relative_to(ROOT))
    assert [str(page) for page in PAGES if page.parts[0] == "docs" and page not in reached] == []


def test_every_metric_is_documented_and_no_other() -> None:
    """S0.25: what the figures mean."""
    named = set(
        re.findall(r"^\| `((?:penstock|tensafe)_\w+)`", text_of(Path("docs/reference/metrics.md")), re.MULTILINE)
    )
    shown = {f"{name}_total" for name in metrics.COUNTERS} | set(metrics.HISTOGRAMS) | set(metrics.GAUGES)
    assert named == shown


def test_every_error_code_is_documented_with_its_status() -> None:
    page = text_of(Path("docs/reference/errors.md"))
    rows = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", page, re.MULTILINE))
    kinds = [errors.PenstockError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    raised = {
        kind.code: str(kind.status)
        for kind in kinds
        if kind.__module__ == "penstock.errors" and kind not in {errors.Refusal, errors.EngineFault, errors.ConfigError}
    }
    assert rows == raised


def test_every_model_route_is_documented() -> None:
    page = text_of(Path("docs/reference/routes.md"))
    assert [path for path in map(bytes.decode, ROUTES) if f"`{path}`" not in page] == []


CONFIGURATIONS = [
    pytest.param(block, id=f"{page}-{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"^```yaml[^\n]*\n(.*?)^```", text_of(page), re.MULTILINE | re.DOTALL))
    if isinstance(told := yaml.safe_load(block), dict) and {"backends", "aliases"} <= told.keys()
]


@pytest.mark.parametrize("block", CONFIGURATIONS)
def test_a_configuration_that_is_shown_can_be_used(block: str, tmp_path: Path) -> None:
    file = tmp_path / "penstock.yaml"
    file.write_text(block, encoding="utf-8")
    assert load(file, {}).config.aliases


def test_every_verb_and_option_that_is_shown_exists() -> None:
    """Of `penstock`, in blocks and in running text."""
    commands = get_command(app).commands  # type: ignore[attr-defined]  # typer's app of several verbs is a group
    wrong = []
    for page in PAGES:
        for verb, rest in re.findall(
            r"\bpenstock ([a-z][a-z-]*)((?: +[^\s`|&#]+)*)", "\n".join(CODE.findall(text_of(page)))
        ):
            if verb not in commands:
                wrong.append(f"{page}: penstock {verb}")
                continue
            command, words = commands[verb], rest.split()
            if hasattr(command, "commands"):  # a group: its own verb is the next word
                if not words or words[0] not in command.commands:
                    wrong.append(f"{page}: penstock {verb} {rest}")
                    continue
                command = command.commands[words[0]]
            options = {option for one in command.params for option in one.opts}
            wrong += [f"{page}: {verb} {used}" for used in re.findall(r"(--[a-z-]+)", rest) if used not in options]
    assert wrong == []


def test_every_verb_of_make_that_is_shown_exists() -> None:
    verbs = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    shown = {
        verb for page in OURS for code in CODE.findall(text_of(page)) for verb in re.findall(r"\bmake ([a-z-]+)", code)
    }
    assert shown <= verbs
