"""What every part of the configuration's tree is made of: frozen nouns, and values that have a unit.

Durations are seconds, sizes are bytes and shares are parts of one here, whatever spelling the file used.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

_DURATION = {"pattern": r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"}
_SHARE = {"pattern": r"^[0-9]+(\.[0-9]+)? ?%$"}
_SIZE = {"pattern": r"^[0-9]+(\.[0-9]+)? ?(B|KB|MB|GB|KiB|MiB|GiB)$"}

Seconds = Annotated[float, Meta(gt=0, extra={"unit": "duration"}, extra_json_schema=_DURATION)]
Bytes = Annotated[int, Meta(gt=0, extra={"unit": "size"}, extra_json_schema=_SIZE)]
Share = Annotated[float, Meta(ge=0, le=1, extra={"unit": "share"}, extra_json_schema=_SHARE)]
Url = Annotated[str, Meta(extra={"unit": "url"})]
ListenAddress = Annotated[str, Meta(extra={"unit": "address"})]
Count = Annotated[int, Meta(ge=0)]
AtLeastOne = Annotated[int, Meta(ge=1)]


class Noun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every part of the tree has in common: frozen, named fields only, and no field we do not know."""
