"""TenSafe's names over ours."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.fakes.collector import GrpcCollector
from tests.fakes.raw import once

from penstock.compat.tensafe import setup_observability
from penstock.environment_otel import NAMES
from penstock.errors import ConfigError
from penstock.faults.engine import Engine

SERVER = """
import sys
from penstock.compat.tensafe import setup_observability

# Setup observability first
setup_observability(
    service_name="tensafe-vllm",
    otlp_endpoint={endpoint!r},
)

# Server automatically exports metrics
from penstock.gateway.__main__ import main
sys.argv[1:] = ["--config", {file!r}]
sys.exit(main())
"""


async def test_a_server_that_was_set_up_exports_by_itself(scripted_engine: Engine, tmp_path: Path) -> None:
    """S2.21: setup_observability(service_name=…, otlp_endpoint=…), and traces and figures go to a collector that speaks gRPC."""
    file = tmp_path / "penstock.yaml"
    settings = {
        "listen": ["127.0.0.1:0"],
        "backends": {"first": {"kind": "vllm", "url": scripted_engine.url}},
        "aliases": {"m": {"targets": [{"backends": ["first"], "model": "m"}]}},
        "state": f"sqlite:///{tmp_path}/state.db",
        "admin": f"{tmp_path}/a.sock"[-100:],
    }
    await asyncio.to_thread(file.write_text, yaml.safe_dump(settings), encoding="utf-8")
    environ = {name: value for name, value in os.environ.items() if name not in NAMES}
    with GrpcCollector() as collector:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-c", SERVER.format(endpoint=collector.endpoint, file=str(file))),
            stdout=subprocess.PIPE,
            env={**environ, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_METRIC_EXPORT_INTERVAL": "500"},
            cwd=tmp_path,
        )
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        where = json.loads(line)["listen"][0]
        asked = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
        assert (await once(f"http://{where}", "/v1/chat/completions", asked)).status == 200
        spans = await asyncio.to_thread(collector.spans, 2)
        figures = await asyncio.to_thread(collector.metric, "tensafe_vllm_requests_total")
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 30) == 0
    assert [span.name for span in spans] == ["POST /v1/chat/completions", "chat m"]
    assert figures.sum.data_points[0].as_double == 1
    assert {one["service.name"] for one in collector.resources} == {"tensafe-vllm"}


def test_an_endpoint_that_is_none_is_refused_and_sets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="otel-collector"):
        setup_observability(otlp_endpoint="otel-collector:4317")
    assert not [name for name in NAMES if name in os.environ]
