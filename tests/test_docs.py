"""The documents agree with each other and with the code they speak of."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from penstock import errors
from penstock.gateway import metrics
from penstock.protocols.table import ROUTES

ROOT = Path(__file__).parents[1]
SKIPPED = {"build", "dist", "node_modules", "state"}
PAGES = sorted(
    page.relative_to(ROOT)
    for page in ROOT.rglob("*.md")
    if not any(part in SKIPPED or part.startswith(".") for part in page.relative_to(ROOT).parts[:-1])
)
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
