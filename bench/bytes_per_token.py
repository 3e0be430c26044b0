"""How many bytes of a request's body come on one token of its prompt: `python -m bench.bytes_per_token URL MODEL`.

Quotas judge a prompt by the bytes of its body before any engine has counted it (gateway/estimate.py). This asks an engine or a
gateway that runs for one token about texts of several kinds, and prints what the engine counted beside the bytes. A key is
read from PENSTOCK_API_KEY.
"""

from __future__ import annotations

import base64
import json
import os
import random
import sys
import urllib.request
from pathlib import Path
from typing import Any

LENGTH = 360
"""Characters of each text: short enough for the smallest model."""
LIMIT = 60.0


def texts() -> dict[str, str]:
    """By kind; those without a source are the same in every run."""
    chance = random.Random(1)  # noqa: S311 - a text, no secret
    page = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
    code = Path(__file__).read_text(encoding="utf-8")
    return {
        "english": " ".join(page.split())[:LENGTH],
        "code": code[-LENGTH:],
        "german": ("Die Schleuse lässt so viel Wasser durch, wie die Turbinen aufnehmen können, und nicht mehr. " * 9)[
            :LENGTH
        ],
        "chinese": ("闸门只放行涡轮机能够承受的水量。多余的水留在水库里。" * 20)[: LENGTH // 3],
        "digits": "".join(chance.choice("0123456789") for _ in range(LENGTH)),
        "base64": base64.b64encode(chance.randbytes(LENGTH * 3 // 4)).decode(),
        "one word": "a",
    }


def counted(url: str, model: str, text: str) -> tuple[int, int]:
    """Bytes of the body and tokens of the prompt."""
    body = json.dumps(
        {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 1}, ensure_ascii=False
    ).encode()
    headers = {"content-type": "application/json", "authorization": f"Bearer {os.environ.get('PENSTOCK_API_KEY', '-')}"}
    asked = urllib.request.Request(f"{url.rstrip('/')}/v1/chat/completions", body, headers)  # noqa: S310 - who runs it names it
    with urllib.request.urlopen(asked, timeout=LIMIT) as answer:  # noqa: S310 - likewise
        told: dict[str, Any] = json.load(answer)
    return len(body), int(told["usage"]["prompt_tokens"])


def main(url: str, model: str) -> None:
    """One line for each kind."""
    sys.stdout.write("| text | bytes | tokens | bytes per token |\n|---|---|---|---|\n")
    for kind, text in texts().items():
        size, tokens = counted(url, model, text)
        sys.stdout.write(f"| {kind} | {size} | {tokens} | {size / tokens:.1f} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:3])
