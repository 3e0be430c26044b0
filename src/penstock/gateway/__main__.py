"""`python -m penstock.gateway --config FILE`: one gateway process, without the command line's comforts.

Prints `{"listen": [...]}` once it serves; errors go to stderr in the form of the command line, and the status is 2 for
what cannot be used as it is configured, 1 for what failed.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from penstock.config import Loaded
from penstock.errors import ConfigError, PenstockError
from penstock.gateway.discover import models
from penstock.gateway.reload import served_by
from penstock.gateway.workers import UNUSABLE, run
from penstock.sources import load

FAILED = 1


def main() -> int:
    """Parse, load, serve."""
    parser = argparse.ArgumentParser(prog="python -m penstock.gateway")
    parser.add_argument("--config", type=Path, help="penstock.yaml; without it the environment decides")
    parser.add_argument("--takeover", action="store_true", help="replace the gateway that serves these addresses now")
    parser.add_argument("--worker", type=int, default=-1, help=argparse.SUPPRESS)
    parser.add_argument("--like", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()

    def source() -> Loaded:
        return load(options.config, os.environ, models)

    try:
        config = (served_by(options.like) if options.like else None) or source().config
        return run(config, source=source, worker=options.worker, takeover=options.takeover, announce=True)
    except PenstockError as error:
        sys.stderr.write(error.report())
        return UNUSABLE if isinstance(error, ConfigError) else FAILED


if __name__ == "__main__":
    sys.exit(main())
