"""What secrets and personal details look like. Each entry says what it finds; what it cannot know it lets pass."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator, Mapping

from penstock.guardrails.find import Detector
from penstock.patterns import Pattern

_TOKEN = frozenset(string.ascii_letters + string.digits + "_-.=/+")
_KEYS = "|".join(  # noqa: FLY002 - a line and a name for each
    (
        r"sk-[A-Za-z0-9_\-]{16}",  # OpenAI, Anthropic, LiteLLM, and ours
        r"(?:AKIA|ASIA)[0-9A-Z]{16}",  # AWS
        r"gh[pousr]_[A-Za-z0-9]{30}",  # GitHub
        r"github_pat_[A-Za-z0-9_]{20}",
        r"glpat-[A-Za-z0-9_\-]{18}",  # GitLab
        r"xox[abeoprs]-[A-Za-z0-9\-]{10}",  # Slack
        r"AIza[0-9A-Za-z_\-]{30}",  # Google
        r"hf_[A-Za-z0-9]{30}",  # Hugging Face
        r"npm_[A-Za-z0-9]{30}",
        r"[rs]k_(?:live|test)_[A-Za-z0-9]{16}",  # Stripe
        r"eyJ[A-Za-z0-9_\-]{12,200}\.eyJ[A-Za-z0-9_\-]{8}",  # JWT
    )
)
_SHORTEST_CARD, _LONGEST_CARD = 13, 19
_SHORTEST_IBAN = 15
_PHONE = (8, 15)


def _boundaries(text: str) -> Iterator[tuple[int, str]]:
    """Lengths at which a find may end, the longest first, and the letters and digits until there."""
    for end in range(len(text), 0, -1):
        if text[end - 1].isalnum() and (end == len(text) or not text[end].isalnum()):
            yield end, "".join(letter for letter in text[:end] if letter.isalnum())


def card(text: str) -> int:
    """Luhn's check digit, over as many groups of digits as make one."""
    for end, digits in _boundaries(text):
        if _SHORTEST_CARD <= len(digits) <= _LONGEST_CARD and _luhn(digits) and len(set(digits)) > 1:
            return end
    return 0


def _luhn(digits: str) -> bool:
    total = 0
    for place, letter in enumerate(reversed(digits)):
        value = int(letter) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def iban(text: str) -> int:
    """The check digits of ISO 13616."""
    for end, letters in _boundaries(text):
        if len(letters) < _SHORTEST_IBAN:
            return 0
        if int("".join(str(int(letter, 36)) for letter in letters[4:] + letters[:4])) % 97 == 1:
            return end
    return 0


def phone(text: str) -> int:
    """As many digits as a number of E.164 has."""
    least, most = _PHONE
    return len(text) if least <= sum(letter.isdigit() for letter in text) <= most else 0


def us_ssn(text: str) -> int:
    """Numbers that were never given out are none."""
    area, group, serial = text.split("-")
    return 0 if area in {"000", "666"} or area >= "900" or group == "00" or serial == "0000" else len(text)


def _private_key() -> Detector:
    head = Pattern(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
    return Detector("private_key", head, until=Pattern(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"))


DETECTORS: Mapping[str, Callable[[], Detector]] = {
    "private_key": _private_key,
    "api_key": lambda: Detector("api_key", Pattern(rf"\b(?:{_KEYS})"), tail=_TOKEN),
    "email": lambda: Detector("email", Pattern(r"[A-Za-z0-9._%+\-]{1,64}@[A-Za-z0-9.\-]{1,190}\.[A-Za-z]{2,24}")),
    "phone": lambda: Detector(
        "phone",
        Pattern(
            r"(?:\+[0-9](?:[ ().\-]{0,2}[0-9]){7,14}|\([2-9][0-9]{2}\) ?[0-9]{3}[ .\-][0-9]{4}"
            r"|\b[2-9][0-9]{2}[ .\-][0-9]{3}[ .\-][0-9]{4})\b"
        ),
        phone,
    ),
    "iban": lambda: Detector("iban", Pattern(r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"), iban),
    "card": lambda: Detector("card", Pattern(r"\b[0-9](?:[ \-]?[0-9]){12,18}\b"), card),
    "us_ssn": lambda: Detector("us_ssn", Pattern(r"\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b"), us_ssn),
}
"""By the names that the configuration uses; in the order in which they are looked for."""
