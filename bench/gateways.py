"""Starts another gateway between the two upstreams of `penstock faults --launch`, with limits like those that Penstock gets there.

    penstock faults --launch '.venv/bin/python -m bench.gateways vllm-router {host} {port} {a} {b} {dir}'

Each is set up as its documentation says for two upstreams with failover, at its best for this: retries on, waits as short as it
knows them. Where it has no such limit, it has none.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.peers import LITELLM, LITELLM_ENVIRONMENT, ROUTER, Launch
from bench.processes import free_port

CONFIG = """
model_list:
  - model_name: m
    litellm_params: {{model: openai/m, api_base: "http://{a}/v1", api_key: none, timeout: 6, stream_timeout: 1}}
  - model_name: m-spare
    litellm_params: {{model: openai/m, api_base: "http://{b}/v1", api_key: none, timeout: 6, stream_timeout: 1}}
router_settings:
  num_retries: 0
  fallbacks: [{{m: [m-spare]}}]
litellm_settings:
  request_timeout: 6
general_settings:
  dangerously_permit_weak_or_unset_master_key: true
"""


def vllm_router(host: str, port: int, a: str, b: str, directory: Path) -> Launch:
    """It knows no order of upstreams: requests take turns. One limit for a whole request, retries on another upstream."""
    del directory
    argv = [str(ROUTER), "--host", host, "--port", str(port), "--worker-urls", f"http://{a}", f"http://{b}"]
    argv += ["--policy", "round_robin", "--log-level", "error", "--prometheus-port", str(free_port())]
    argv += ["--request-timeout-secs", "6", "--retry-max-retries", "3", "--retry-initial-backoff-ms", "50"]
    argv += ["--health-check-interval-secs", "1", "--health-check-timeout-secs", "1"]
    return Launch(tuple(argv))


def litellm(host: str, port: int, a: str, b: str, directory: Path) -> Launch:
    """Without a database and without keys; B is the fallback of A, as its router has it."""
    config = directory / "litellm.yaml"
    config.write_text(CONFIG.format(a=a, b=b), encoding="utf-8")
    argv = (str(LITELLM), "--config", str(config), "--host", host, "--port", str(port), "--num_workers", "1")
    return Launch((*argv, "--run_granian"), LITELLM_ENVIRONMENT)


SLOW = frozenset({"litellm"})
"""Whose start takes longer than a scenario: they are started once."""
GATEWAYS: Mapping[str, Callable[[str, int, str, str, Path], Launch]] = {
    "vllm-router": vllm_router,
    "litellm": litellm,
}


def main() -> None:
    """Become the gateway."""
    parser = argparse.ArgumentParser(prog="python -m bench.gateways", description=__doc__)
    parser.add_argument("name", choices=GATEWAYS)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("a", help="host:port of the preferred upstream")
    parser.add_argument("b", help="host:port of its fallback")
    parser.add_argument("directory", type=Path)
    options = parser.parse_args()
    launch = GATEWAYS[options.name](options.host, options.port, options.a, options.b, options.directory)
    os.execve(launch.argv[0], launch.argv, {**os.environ, **launch.environment})  # noqa: S606 - in place of this process


if __name__ == "__main__":
    main()
