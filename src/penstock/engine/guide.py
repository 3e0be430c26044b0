"""Where a model named in a config or on a command line lies on this disk: the bundled guide, or a GGUF file.

Hub names are not resolved here: that downloads, and hub.py does it.
"""

from __future__ import annotations

from pathlib import Path

from penstock.errors import ConfigError

GUIDE = "guide"
FILE = "guide-q8_0.gguf"
_HERE = Path(__file__).resolve().parent
# In a wheel the file lies beside this module; in a checkout where the training wrote it.
PLACES = (_HERE / "guide" / FILE, _HERE.parents[2] / "models" / "guide" / "dist" / FILE)


def guide_file(places: tuple[Path, ...] = PLACES) -> Path:
    """The bundled model. Raises ConfigError, naming every place looked at, when none has it."""
    for place in places:
        if place.is_file():
            return place
    looked = " nor at ".join(str(place) for place in places)
    raise ConfigError(
        f"Looking for the bundled model: it is neither at {looked}.",
        hint="Install Penstock again, or pass a GGUF file of your own with --model FILE.gguf.",
    )


def model_file(model: str) -> Path:
    """The file meant by `guide` or by a path; whether it can be loaded is for gguf.py to say."""
    return guide_file() if model == GUIDE else Path(model).expanduser()
