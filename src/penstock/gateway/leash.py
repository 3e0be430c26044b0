"""`python -m penstock.gateway.leash --config FILE`: a gateway that stops when whoever started it is gone.

The starter holds the other end of our stdin. However it ends, killed included, the pipe closes, and the gateway drains
and stops as after SIGTERM, instead of keeping a port that nobody remembers.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from penstock.gateway.__main__ import main


def _watch() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_watch, name="leash", daemon=True).start()
    sys.exit(main())
