"""What the gateway tells about itself and its models, in both protocols."""

from __future__ import annotations

import pytest
from tests.fakes.raw import once
from tests.gateway.site import SHARED, Site

pytestmark = SHARED


async def test_models_are_the_aliases_with_their_windows(site: Site) -> None:
    """S0.11: the app can derive its window."""
    listed = {model["id"]: model for model in (await once(site.url, "/v1/models")).json()["data"]}
    assert {"m", "m2", "Meta/Llama-3", "via-ollama", "strict"} <= listed.keys()
    assert "real-m" not in listed
    assert listed["m"]["max_model_len"] == listed["via-ollama"]["max_model_len"] == 4096
    assert listed["strict"]["max_model_len"] is None


@pytest.mark.parametrize("name", ["m", "Meta/Llama-3", "Meta%2FLlama-3"])
async def test_one_model(site: Site, name: str) -> None:
    answer = await once(site.url, f"/v1/models/{name}")
    assert answer.status == 200
    assert answer.json()["object"] == "model"
    assert (await once(site.url, f"/v1/models/{name}-not")).status == 404


async def test_ollamas_lists(site: Site) -> None:
    names = [model["name"] for model in (await once(site.url, "/api/tags")).json()["models"]]
    assert any(name.startswith("m2") for name in names)
    shown = (await site.post("/api/show", {"model": "m"})).json()
    assert any(key.endswith(".context_length") and value == 4096 for key, value in shown["model_info"].items())
    assert "completion" in shown["capabilities"]
    assert (await site.post("/api/show", {"model": "nobody"})).status == 404
    assert (await once(site.url, "/api/version")).json()["version"].count(".") == 2
    assert (await once(site.url, "/")).body == b"Ollama is running"
    assert isinstance((await once(site.url, "/api/ps")).json()["models"], list)


async def test_health_speaks_of_the_default_alias(site: Site) -> None:
    """S2.20, X7."""
    answer = await once(site.url, "/health")
    assert (answer.status, answer.json()) == (200, {"status": "healthy", "model": "m"})
    del site.first.models["real-m"]
    await site.gateway.until("/health", lambda page: page["status"] != "healthy")
    assert (await once(site.url, "/health")).status == 503
    assert (await once(site.url, "/livez")).status == 200


async def test_stats_count_what_runs(site: Site) -> None:
    """S3.23."""
    page = (await once(site.url, "/stats")).json()
    assert page["active_requests"] == 0
    assert page["backends"].keys() == {"first", "second", "spare", "strict"}


async def test_metrics_are_prometheus_text(site: Site) -> None:
    await site.chat(stream=True)
    answer = await once(site.url, "/metrics")
    assert (answer.header("content-type") or "").startswith("text/plain; version=0.0.4")
    text = answer.body.decode()
    for name in ("penstock_requests_total", "penstock_backend_up", "penstock_breaker_state"):
        assert f"\n# TYPE {name}" in f"\n{text}", name
    assert text.endswith("\n")
