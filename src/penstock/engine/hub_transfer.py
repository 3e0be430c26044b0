"""One HTTP transfer from a hub: headers, redirects, ranges and digests. Which file it is, and where it goes, is hub.py's.

urllib and not a client library: this runs once per model, before anything is served, and has nothing else to do meanwhile.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from penstock import __version__
from penstock.engine.hub_cache import home_folder
from penstock.errors import ConfigError

Progress = Callable[[int, int], None]
"""Called with the bytes that are here and the bytes of the whole file."""

TIMEOUT = 30.0
PIECE = 2**20
SHA1, SHA256 = 40, 64
RANGE_REFUSED = 416
CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/\d+")


@dataclass(frozen=True, slots=True)
class Blob:
    """A file of a repository. `etag` is its SHA-256, or git's SHA-1 for a file small enough to live in git itself."""

    file: str
    size: int
    etag: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", self.etag):
            raise ValueError(f"{self.etag!r} is no digest")

    def digest(self) -> hashlib._Hash:
        """A fresh hash whose result has to equal `etag`."""
        if len(self.etag) == SHA256:
            return hashlib.sha256()
        return hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)


class SameHostKeepsToken(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but leaves the token behind when another host is named: storage hosts have signed URLs instead."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """The next request. Raises HTTPError where a redirect would leave TLS."""
        before, after = urllib.parse.urlsplit(req.full_url), urllib.parse.urlsplit(newurl)
        if before.scheme == "https" and after.scheme != "https":
            raise urllib.error.HTTPError(newurl, code, "a redirect from https to http was refused", headers, fp)
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        if following is not None and (before.scheme, before.netloc) != (after.scheme, after.netloc):
            following.remove_header("Authorization")
        return following


def token(environment: Mapping[str, str]) -> str:
    """The caller's key for the hub, or nothing. A key that cannot stand in a header is an error, not a strange request."""
    given = environment.get("HF_TOKEN", "").strip()
    if not given:
        file = Path(environment.get("HF_TOKEN_PATH") or home_folder(environment) / "token").expanduser()
        given = file.read_text(encoding="utf-8").strip() if file.is_file() else ""
    if given and not re.fullmatch(r"[\x21-\x7e]+", given):
        raise ConfigError("Reading HF_TOKEN: it holds characters that no token has.", hint="Copy the token again.")
    return given


def open_url(url: str, key: str, start: int = 0) -> http.client.HTTPResponse:
    """The open answer to a GET, from byte `start` on if the server can. The caller closes it."""
    if urllib.parse.urlsplit(url).scheme not in {"http", "https"}:
        raise ConfigError(f"Asking {url}: only http and https are spoken.", hint="Check HF_ENDPOINT.")
    request = urllib.request.Request(url, headers={"User-Agent": f"penstock/{__version__}"})  # noqa: S310 -- checked above
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    if start:
        request.add_header("Range", f"bytes={start}-")
    opener = urllib.request.build_opener(SameHostKeepsToken)
    try:
        answer: http.client.HTTPResponse = opener.open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as problem:
        problem.close()  # an error is an open answer too, and nobody reads it
        raise
    return answer


def receive(url: str, key: str, blob: Blob, partial: Path, progress: Progress | None) -> None:
    """Completes `partial` and checks it. A wrong digest removes it, so that the next try begins anew."""
    start = partial.stat().st_size
    if start > blob.size:
        start = _forget(partial)
    digest = blob.digest()
    _read_back(partial, digest)
    if start < blob.size:
        with open_url(url, key, start) as answer:
            if start and not _continues(answer, start):
                start, digest = _forget(partial), blob.digest()
            start = _append(answer, blob, partial, start, digest, progress)
    if start != blob.size:
        raise ConnectionError(f"the connection ended after {start} of {blob.size} bytes")
    if digest.hexdigest() != blob.etag:
        _forget(partial)
        raise ConfigError(
            f"Downloading {blob.file}: its digest is {digest.hexdigest()} instead of {blob.etag}.",
            hint="The download was damaged or changed on its way; try again.",
        )


def _continues(answer: http.client.HTTPResponse, start: int) -> bool:
    match = CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    return answer.status == http.client.PARTIAL_CONTENT and match is not None and int(match[1]) == start


def _append(
    answer: http.client.HTTPResponse,
    blob: Blob,
    partial: Path,
    start: int,
    digest: hashlib._Hash,
    progress: Progress | None,
) -> int:
    """Bytes that are here afterwards. More than promised is as wrong as less."""
    with partial.open("ab") as file:
        while piece := answer.read(min(PIECE, blob.size - start + 1)):
            start += len(piece)
            if start > blob.size:
                _forget(partial)
                raise ConfigError(f"Downloading {blob.file}: more than its {blob.size} bytes came.", hint="Try again.")
            file.write(piece)
            digest.update(piece)
            if progress is not None:
                progress(start, blob.size)
    return start


def _read_back(partial: Path, digest: hashlib._Hash) -> None:
    with partial.open("rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)


def _forget(partial: Path) -> int:
    """Empties the file without replacing it: its lock hangs on this very file."""
    with partial.open("r+b") as file:
        file.truncate(0)
    return 0
