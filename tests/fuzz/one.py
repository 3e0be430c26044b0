"""`python -m tests.fuzz.one TARGET [libFuzzer's own options and folders]`: one target under atheris, until libFuzzer ends it."""

from __future__ import annotations

import sys

import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]  # of requirements/fuzz.txt alone

with atheris.instrument_imports(include=["penstock"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
