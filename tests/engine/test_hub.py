"""Models from a hub (`penstock up --model HF-ID`), against a server that speaks the hub's wire."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.hub import COMMIT, Hub, serving

from penstock.engine import hub as hub_module
from penstock.engine.hub import HubName, fetch, parse_name
from penstock.engine.hub_cache import Cache, cache_folder
from penstock.errors import ConfigError

REPOSITORY = "water/drop-GGUF"
SMALL = bytes(range(256)) * 40
FILES = {"README.md": b"# drop\n", "drop-q4_k_m.gguf": SMALL, "drop-q8_0.gguf": SMALL * 2}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(hub_module, "FIRST_PAUSE", 0.001)
    with serving(Hub(REPOSITORY, dict(FILES))) as running:
        yield running


@pytest.fixture
def environment(hub: Hub, tmp_path: Path) -> dict[str, str]:
    return {"HF_ENDPOINT": hub.url + "/", "HF_HOME": str(tmp_path / "hf")}


def named(text: str) -> HubName:
    name = parse_name(text)
    assert name is not None
    return name


def downloads(hub: Hub) -> list[str]:
    return [line for line in hub.asked if line.startswith("storage")]


def test_download_lands_in_the_shared_cache_layout(environment: dict[str, str], tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    path = fetch(named(REPOSITORY), environment, lambda done, size: steps.append((done, size)))
    folder = tmp_path / "hf" / "hub" / "models--water--drop-GGUF"
    assert path == folder / "snapshots" / COMMIT / "drop-q4_k_m.gguf"
    assert path.read_bytes() == SMALL
    assert path.is_symlink()
    assert path.resolve().parent == folder / "blobs"
    assert (folder / "refs" / "main").read_text() == COMMIT
    assert steps[-1] == (len(SMALL), len(SMALL))
    assert list(folder.rglob("*.part")) == []


def test_what_is_in_the_cache_is_used_without_asking(hub: Hub, environment: dict[str, str]) -> None:
    first = fetch(named(REPOSITORY), environment)
    hub.asked.clear()
    assert fetch(named(REPOSITORY), environment) == first
    assert fetch(named(REPOSITORY), environment | {"HF_HUB_OFFLINE": "1"}) == first
    assert hub.asked == []


@pytest.mark.parametrize("choice", ["drop-q8_0.gguf", "Q8_0", "q8"])
def test_a_file_is_chosen_by_its_name_or_a_part_of_it(environment: dict[str, str], choice: str) -> None:
    assert fetch(named(f"{REPOSITORY}:{choice}"), environment).read_bytes() == SMALL * 2


def test_the_only_file_needs_no_choice(hub: Hub, environment: dict[str, str]) -> None:
    hub.files = {"sub/only.gguf": SMALL}
    path = fetch(named(REPOSITORY), environment)
    assert path.read_bytes() == SMALL
    assert path.parent.name == "sub"


def test_several_files_and_no_choice_lists_them(hub: Hub, environment: dict[str, str]) -> None:
    hub.files = {"a.gguf": SMALL, "b.gguf": SMALL, "mmproj-b.gguf": SMALL}
    with pytest.raises(ConfigError, match=r"2 files could be meant: a\.gguf, b\.gguf") as caught:
        fetch(named(REPOSITORY), environment)
    assert "--model water/drop-GGUF:FILE" in caught.value.hint


def test_a_repository_without_gguf_says_so(hub: Hub, environment: dict[str, str]) -> None:
    hub.files = {"model.safetensors": SMALL}
    with pytest.raises(ConfigError, match="no GGUF file"):
        fetch(named(REPOSITORY), environment)


def test_a_split_model_says_so(hub: Hub, environment: dict[str, str]) -> None:
    hub.files = {"big-00001-of-00002.gguf": SMALL, "big-00002-of-00002.gguf": SMALL}
    with pytest.raises(ConfigError, match="split into parts"):
        fetch(named(REPOSITORY), environment)


def test_broken_downloads_are_continued(hub: Hub, environment: dict[str, str]) -> None:
    hub.faults.cuts = [1000, 2000]
    assert fetch(named(REPOSITORY), environment).read_bytes() == SMALL
    file = "storage /drop-q4_k_m.gguf"
    assert downloads(hub) == [file, f"{file} bytes=1000-", f"{file} bytes=3000-"]


def test_a_download_is_continued_by_the_next_run(hub: Hub, environment: dict[str, str]) -> None:
    hub.faults.cuts = [100] * hub_module.TRIES
    with pytest.raises(ConfigError, match="connection ended after 500 of 10240 bytes"):
        fetch(named(REPOSITORY), environment)
    assert fetch(named(REPOSITORY), environment).read_bytes() == SMALL
    assert downloads(hub)[-1].endswith("bytes=500-")


def test_a_server_without_ranges_begins_anew(hub: Hub, environment: dict[str, str]) -> None:
    hub.faults.cuts, hub.faults.ignore_ranges = [1000], True
    assert fetch(named(REPOSITORY), environment).read_bytes() == SMALL


def test_a_busy_storage_host_is_asked_again(hub: Hub, environment: dict[str, str]) -> None:
    hub.faults.busy = 2
    assert fetch(named(REPOSITORY), environment).read_bytes() == SMALL


def test_damage_is_found_and_nothing_of_it_stays(hub: Hub, environment: dict[str, str]) -> None:
    hub.faults.damage = True
    with pytest.raises(ConfigError, match="digest"):
        fetch(named(REPOSITORY), environment)
    assert Cache.of(REPOSITORY, environment).files() == {}
    hub.faults.damage = False
    assert fetch(named(REPOSITORY), environment).read_bytes() == SMALL


def test_more_bytes_than_promised_are_refused(hub: Hub, environment: dict[str, str]) -> None:
    hub.faults.surplus = b"!"
    with pytest.raises(ConfigError, match="more than its"):
        fetch(named(REPOSITORY), environment)


def test_the_token_reaches_the_hub_and_no_other_host(hub: Hub, environment: dict[str, str]) -> None:
    hub.token = "hf_secret"
    with pytest.raises(ConfigError, match="401") as caught:
        fetch(named(REPOSITORY), environment)
    assert "HF_TOKEN" in caught.value.hint
    assert fetch(named(REPOSITORY), environment | {"HF_TOKEN": "hf_secret"}).read_bytes() == SMALL
    assert hub.leaked == []


def test_the_token_is_read_from_the_file_that_login_leaves(hub: Hub, environment: dict[str, str]) -> None:
    hub.token = "hf_secret"
    home = Path(environment["HF_HOME"])
    home.mkdir()
    (home / "token").write_text("hf_secret\n")
    assert fetch(named(REPOSITORY), environment).read_bytes() == SMALL


def test_a_token_that_cannot_be_one_is_an_error(environment: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="HF_TOKEN"):
        fetch(named(REPOSITORY), environment | {"HF_TOKEN": "a\r\nX-Evil: 1"})


def test_offline_and_not_here_says_what_to_do(hub: Hub, environment: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="HF_HUB_OFFLINE forbids") as caught:
        fetch(named(REPOSITORY), environment | {"HF_HUB_OFFLINE": "True"})
    assert "guide" in caught.value.hint
    assert hub.asked == []


def test_an_unknown_repository_says_so(environment: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="404") as caught:
        fetch(named("water/nothing"), environment)
    assert "spelling" in caught.value.hint


def test_no_hub_at_all_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(ConfigError, match=r"Asking http://127\.0\.0\.1:1 for the files") as caught:
        fetch(named(REPOSITORY), {"HF_ENDPOINT": "http://127.0.0.1:1", "HF_HOME": str(tmp_path)})
    assert "HF_ENDPOINT" in caught.value.hint


def test_a_listing_cannot_lead_out_of_the_cache(hub: Hub, environment: dict[str, str]) -> None:
    hub.files = {"../../evil.gguf": SMALL}
    with pytest.raises(ConfigError, match="no name of a file"):
        fetch(named(REPOSITORY), environment)


def test_two_downloads_of_one_file_do_not_mix(hub: Hub, environment: dict[str, str]) -> None:
    etag = hashlib.sha256(hub.files["drop-q4_k_m.gguf"]).hexdigest()
    with (
        Cache.of(REPOSITORY, environment).downloading(etag, len(SMALL)),
        pytest.raises(ConfigError, match="another process"),
    ):
        fetch(named(REPOSITORY), environment)


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"HF_HUB_CACHE": "/a/cache", "HF_HOME": "/b"}, "/a/cache"),
        ({"HF_HOME": "/b"}, "/b/hub"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"),
        ({}, str(Path("~/.cache/huggingface/hub").expanduser())),
    ],
)
def test_the_cache_is_where_other_tools_have_it(environment: dict[str, str], folder: str) -> None:
    assert str(cache_folder(environment)) == folder


@pytest.mark.parametrize("text", ["guide", "a/b/c", "../up", "a/..", "a b/c", "a/b:", "/a/b", "https://hub/x"])
def test_what_is_no_name_of_a_repository(text: str) -> None:
    assert parse_name(text) is None
