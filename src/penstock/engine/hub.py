"""GGUF files from a model hub: which file a name means, and how it gets onto this disk, whole and checked.

A name is OWNER/NAME, OWNER/NAME:FILE.gguf or OWNER/NAME:Q8_0 (a part of the file's name). What the shared cache already has
is used without asking anybody. Otherwise two requests are made: the list of the repository's files with their digests, and
the file itself, continued where an earlier try broke off. HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE and the cache names of
hub_cache.py are honoured. The token goes to the hub alone, never to the storage host that the hub redirects to.
"""

from __future__ import annotations

import http.client
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.engine.hub_cache import REVISION, Cache
from penstock.engine.hub_transfer import Blob, Progress, open_url, receive, token
from penstock.errors import ConfigError

DEFAULT_ENDPOINT = "https://huggingface.co"
NAME = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(?::(?P<choice>[^:]+))?")
COMMIT = re.compile(r"[0-9a-f]{40}")
SPLIT = re.compile(r"-\d{5}-of-\d{5}\.gguf$", re.IGNORECASE)
# The usual balance of size and quality, where the name leaves the choice to us.
PREFERRED = "q4_k_m"
ON = {"1", "on", "yes", "true"}
LIST_LIMIT = 16 * 2**20
TRIES = 5
FIRST_PAUSE = 0.2


@dataclass(frozen=True, slots=True)
class HubName:
    """What was asked for, taken apart."""

    repository: str
    choice: str

    def __str__(self) -> str:
        return f"{self.repository}:{self.choice}" if self.choice else self.repository


def parse_name(text: str) -> HubName | None:
    """The hub name that `text` is, or None when it cannot be one."""
    match = NAME.fullmatch(text)
    if match is None or ".." in text:
        return None
    return HubName(match["repository"], match["choice"] or "")


def fetch(name: HubName, environment: Mapping[str, str], progress: Progress | None = None) -> Path:
    """The path of the file, downloaded if it has to be. Raises ConfigError that says what to try."""
    cache = Cache.of(name.repository, environment)
    here = cache.files()
    if here and (chosen := _choose(name, list(here), must=False)) is not None:
        return here[chosen]
    if _offline(environment):
        raise ConfigError(
            f"Loading the model {name}: it is not in the cache {cache.folder}, and HF_HUB_OFFLINE forbids downloads.",
            hint="Download it first without HF_HUB_OFFLINE, pass the path of a GGUF file, or use the bundled model: guide.",
        )
    endpoint = (environment.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")
    commit, blobs = _list(name, endpoint, environment)
    chosen = _choose(name, list(blobs), must=True)
    assert chosen is not None  # noqa: S101 -- `must` makes it raise instead
    return _download(
        name, cache, commit, blobs[chosen], f"{endpoint}/{name.repository}/resolve/{commit}", environment, progress
    )


def _offline(environment: Mapping[str, str]) -> bool:
    value = environment.get("HF_HUB_OFFLINE") or environment.get("TRANSFORMERS_OFFLINE") or ""
    return value.lower() in ON


def _choose(name: HubName, files: list[str], *, must: bool) -> str | None:
    """The one GGUF file that the name means; None when there is none and `must` is not set."""
    models = [file for file in files if file.lower().endswith(".gguf") and "mmproj" not in file.lower()]
    whole = [file for file in models if not SPLIT.search(file)]
    wanted = name.choice.lower() or PREFERRED
    matching = [file for file in whole if wanted in file.lower()]
    if name.choice in whole:
        return name.choice
    if len(matching) == 1:
        return matching[0]
    if not name.choice and len(whole) == 1:
        return whole[0]
    if not must:
        return None
    doing = f"Choosing a file of {name}"
    if whole:
        shown = ", ".join(sorted(matching or whole)[:20])
        raise ConfigError(
            f"{doing}: {len(matching or whole)} files could be meant: {shown}.",
            hint=f"Name one of them: --model {name.repository}:FILE",
        )
    if models:
        raise ConfigError(f"{doing}: its models are split into parts.", hint="Join the parts into one GGUF file first.")
    raise ConfigError(
        f"{doing}: the repository has no GGUF file.", hint="Look for a repository whose name ends in -GGUF."
    )


def _list(name: HubName, endpoint: str, environment: Mapping[str, str]) -> tuple[str, dict[str, Blob]]:
    """The commit that `main` means now, and every file of it."""
    url = f"{endpoint}/api/models/{name.repository}/revision/{REVISION}?blobs=true"
    doing = f"Asking {endpoint} for the files of {name.repository}"
    try:
        with open_url(url, token(environment)) as answer:
            document = json.loads(answer.read(LIST_LIMIT))
        return _parse_list(document)
    except urllib.error.HTTPError as problem:
        raise _refused(doing, problem) from problem
    except (OSError, http.client.HTTPException) as problem:
        raise _unreachable(doing, problem) from problem
    except (KeyError, TypeError, ValueError) as problem:
        raise ConfigError(
            f"{doing}: the answer is not what a hub answers ({problem!r}).", hint="Check HF_ENDPOINT."
        ) from problem


def _parse_list(document: Any) -> tuple[str, dict[str, Blob]]:  # noqa: ANN401 -- foreign JSON, checked here
    commit = document["sha"]
    if not COMMIT.fullmatch(commit):
        raise ValueError(f"{commit!r} is no commit")
    blobs = {}
    for entry in document["siblings"]:
        file, large = entry["rfilename"], entry.get("lfs")
        if file.startswith("/") or ".." in file.split("/"):
            raise ValueError(f"{file!r} is no name of a file")
        if large:
            blobs[file] = Blob(file, int(large["size"]), large["sha256"])
        elif "blobId" in entry:
            blobs[file] = Blob(file, int(entry["size"]), entry["blobId"])
    return commit, blobs


def _download(
    name: HubName,
    cache: Cache,
    commit: str,
    blob: Blob,
    folder: str,
    environment: Mapping[str, str],
    progress: Progress | None,
) -> Path:
    """Tries a few times, each continuing the last, then puts the whole file where it belongs."""
    url = f"{folder}/{urllib.parse.quote(blob.file)}"
    doing = f"Downloading {blob.file} of {name.repository}"
    with cache.downloading(blob.etag, blob.size) as partial:
        for attempt in range(1, TRIES + 1):
            try:
                receive(url, token(environment), blob, partial, progress)
                break
            except urllib.error.HTTPError as problem:
                if problem.code < 500 and problem.code != 429:
                    raise _refused(doing, problem) from problem
                last: Exception = problem
            except (ConnectionError, TimeoutError, urllib.error.URLError, http.client.HTTPException) as problem:
                last = problem
            if attempt == TRIES:
                raise _unreachable(doing, last) from last
            time.sleep(FIRST_PAUSE * 2**attempt)
        return cache.keep(commit, blob.file, blob.etag)


def _refused(doing: str, problem: urllib.error.HTTPError) -> ConfigError:
    hints = {
        401: "The model may be private or misspelt: check the name, and set HF_TOKEN if it needs one.",
        403: "Accept the model's terms on its page with the account of your HF_TOKEN.",
        404: "Check the spelling of OWNER/NAME, and set HF_TOKEN if the model is private.",
    }
    return ConfigError(f"{doing}: it answered {problem.code}.", hint=hints.get(problem.code, "Try again later."))


def _unreachable(doing: str, problem: Exception) -> ConfigError:
    why = getattr(problem, "reason", None) or problem
    return ConfigError(
        f"{doing}: {why}.",
        hint="Check the network and HF_ENDPOINT, pass the path of a GGUF file, or use the bundled model: guide.",
    )
