"""Images between Ollama's bare base64 and OpenAI's `data:` URIs. Nothing is fetched, nothing is decoded but the start."""

from __future__ import annotations

import binascii
import re

from penstock.errors import BadRequest

_ALPHABET = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_DATA = re.compile(r"data:(?P<mime>[\w.+-]+/[\w.+-]+)?(?:;[\w=.+-]+)*;base64,", re.ASCII)
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
)
_BRANDS = {
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"mif1": "image/heif",
}


def uri(image: str) -> str:
    """One image of an Ollama message as a `data:` URI; a client that already sends one is taken at its word."""
    if image.startswith("data:"):
        return image
    return f"data:{_mime(_start(image))};base64,{image}"


def base64(url: str) -> str:
    """The bare base64 of an OpenAI `image_url`; Ollama fetches nothing, so an address is refused."""
    found = _DATA.match(url)
    if found is None:
        shown = url[:60]
        msg = f"Writing the request for Ollama: the image {shown!r} is not a base64 `data:` URI, and Ollama fetches no addresses."
        raise BadRequest(msg, hint="Send the image itself: data:image/png;base64,…", param="messages")
    image = url[found.end() :]
    _start(image)
    return image


def _start(image: str) -> bytes:
    """The first bytes, once the whole is known to be base64; Go's words where it is not."""
    good = _ALPHABET.match(image)
    if good is None or good.end() != len(image) or len(image) % 4:
        msg = f"illegal base64 data at input byte {good.end() if good else 0}"
        raise BadRequest(msg, param="images")
    return binascii.a2b_base64(image[:64])


def _mime(start: bytes) -> str:
    for magic, mime in _MAGIC:
        if start.startswith(magic):
            return mime
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "image/webp"
    if start[4:8] == b"ftyp" and start[8:12] in _BRANDS:
        return _BRANDS[start[8:12]]
    msg = f"Reading the request body: an image begins with {start[:8]!r}, which is no image format we know."
    raise BadRequest(
        msg, hint="Send PNG, JPEG, GIF, WebP, BMP, TIFF, HEIC or AVIF, base64 without a prefix.", param="images"
    )
