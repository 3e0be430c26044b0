"""Row 27: configurations that cannot be used, that take a live backend away, and that come a hundred at a time."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from typing import Any

from penstock.faults.askers import asking, nothing_lost
from penstock.faults.figures import figures
from penstock.faults.gateways import eventually, free_port
from penstock.faults.scenario import Failed, Need, Scenario
from penstock.faults.script import Script
from penstock.faults.site import MODEL, WORDS, Site, answered, merged

_BODY = {"model": MODEL, "messages": [{"role": "user", "content": WORDS}]}
_WELL = "penstock_config_last_reload_successful"
_TAKEN = "penstock_config_last_reload_success_timestamp_seconds"
_STORM = 100
_LOOK = 0.05
_ANY_YAML = re.compile("YAML")

POISONS: dict[str, bytes] = {
    "an empty file": b"",
    "no YAML": b"aliases: {m: [}\n",
    "bytes that are no text": b"\xff\xfe\x00\x80listen",
    "a list": b"- a\n- b\n",
    "a key twice": b"limits: {drain: 2s}\nlimits: {drain: 3s}\n",
    "an alias twice": b"aliases: {m: {targets: [{backends: [a], model: m}]}, m: {targets: [{backends: [b], model: m}]}}\n",
    "an anchor that grows": b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
    "depth without end": b"aliases: " + b"{m: " * 3000 + b"1" + b"}" * 3000 + b"\n",
    "an unknown key": b"lissten: [127.0.0.1:1]\n",
}
"""Whole files."""

CHANGES: dict[str, dict[str, Any]] = {
    "a target without its backend": {"backends": {"a": None}},
    "an address that is none": {"backends": {"a": {"url": "http://[::1:x"}}},
    "a name for two aliases": {"aliases": {"n": {"also": [MODEL], "targets": [{"backends": ["a"], "model": MODEL}]}}},
    "a limit that is no time": {"limits": {"total": "soon"}},
    "a key that is no digest": {"callers": {"me": {"tenant": "t", "key_sha256": "sk-plain"}}},
    "what cannot change while it runs": {"workers": 3},
}
"""The file as it was, with one thing wrong."""


async def poisoned(site: Site) -> None:
    """Fifteen sorts of unusable files, under load and under a stream: each is refused and told, nothing changes, nobody notices."""
    site.a.script = Script(count=3000, gap=0.05)
    async with site.penstock({**_place(), "limits": {"total": "150s"}}) as one:
        good = dict(one.own.config)
        taken = await _figure(one, _TAKEN)
        stream = one.asking()
        await stream.until("water")
        site.a.script = Script()
        files = [*POISONS.items(), *((name, None) for name in CHANGES)]
        async with asking(one.url, 2, body=_BODY) as askers:
            for count, (name, raw) in enumerate(files, 1):
                if raw is None:
                    one.own.write(merged(good, CHANGES[name]))
                else:
                    one.own.file.write_bytes(raw)
                one.process.signal(signal.SIGHUP)
                await one.counted("penstock_config_reloads_total", count, {"result": "refused"})
                if await _figure(one, _WELL) != 0.0 or await _figure(one, _TAKEN) != taken:
                    raise Failed(f"{_WELL} 0 and {_TAKEN} as it was were expected after {name}")
            one.own.file.unlink()
            one.process.signal(signal.SIGHUP)
            await one.counted("penstock_config_reloads_total", len(files) + 1, {"result": "refused"})
            await one.logged(event="reload refused, the last good configuration stays")
            await asyncio.gather(*(asker.more(3) for asker in askers))
        nothing_lost(askers)
        before = len(stream.body)
        await eventually(lambda: len(stream.body) > before, "a stream that goes on through refused reloads")
        await stream.leave()
        one.own.write(good)
        one.process.signal(signal.SIGHUP)
        await one.counted("penstock_config_reloads_total", 1, {"result": "done"})
        if await _figure(one, _WELL) != 1.0 or await _figure(one, _TAKEN) < taken:
            raise Failed(f"{_WELL} 1 was expected after a good reload")


async def taken_away(site: Site) -> None:
    """A reload takes away the backend that streams: what began ends whole there, what comes next goes to B."""
    site.a.script = Script(gap=0.08)
    async with site.penstock(_place()) as one:
        stream = one.asking()
        await stream.until("water")
        target = {"targets": [{"backends": ["b"], "model": MODEL}]}
        one.own.write(merged(one.own.config, {"backends": {"a": None}, "aliases": {MODEL: target}}))
        one.process.signal(signal.SIGHUP)
        await one.logged(event="configuration reloaded")
        answered(await one.ask(), by=site.b)
        answered(await stream.seen(), by=site.a)
        await one.logged(event="request", backend="a", outcome="answered")


async def storm(site: Site) -> None:
    """A hundred SIGHUPs under load, good and bad files in turn: no request is lost, and the last file is what is served."""
    async with site.penstock(_place()) as one:
        good = dict(one.own.config)
        async with asking(one.url, 4, body=_BODY) as askers:
            for number in range(_STORM):
                if number % 2:
                    one.own.file.write_bytes(POISONS["no YAML"])
                else:
                    one.own.write(merged(good, {"aliases": {MODEL: {"also": [f"n{number}"]}}}))
                one.process.signal(signal.SIGHUP)
                await asyncio.sleep(0.01)
            one.own.write(merged(good, {"aliases": {MODEL: {"also": ["last"]}}}))
            one.process.signal(signal.SIGHUP)
            await _until_served(one, "last")
            await asyncio.gather(*(asker.more(5) for asker in askers))
        nothing_lost(askers)
        done = await one.metric("penstock_config_reloads_total")
        if await _figure(one, _WELL) != 1.0 or done > _STORM + 1:
            raise Failed(f"at most {_STORM + 1} reloads and a good last one were expected, seen {done:g}")
        site.notes.append(f"{_STORM + 1} signals, {done:g} reloads, {sum(asker.answered for asker in askers)} requests")


async def all_or_none(site: Site) -> None:
    """With two workers: both take a reload or none does, also where one hangs; one that is started again serves what the other does."""
    async with site.penstock({**_place(), "workers": 2}) as one:
        good = dict(one.own.config)
        paths = [one.own.admin, f"{one.own.admin}.1"]
        pids = [int((await _status(path))["pid"]) for path in paths]
        one.own.write(merged(good, {"aliases": {"second": {"targets": [{"backends": ["a"], "model": MODEL}]}}}))
        os.kill(pids[1], signal.SIGSTOP)
        try:
            told = await _talk(paths[0], "POST", "/reload")
        finally:
            os.kill(pids[1], signal.SIGCONT)
        if told["reloaded"] or "does not answer" not in str(told["problem"]):
            raise Failed(f"a refused reload was expected while one worker hangs, seen {told}")
        await _aliases(paths, {MODEL})
        for path, names in ((paths[1], {MODEL, "second"}), (paths[0], {MODEL})):
            told = await _talk(path, "POST", "/reload")
            if not told["reloaded"]:
                raise Failed(f"a reload was expected, seen {told}")
            await _aliases(paths, names)
            one.own.write(good)
        one.own.file.write_bytes(POISONS["no YAML"])
        one.process.signal(signal.SIGHUP)
        await one.logged(event="reload refused, the last good configuration stays", problem=_ANY_YAML)
        await _aliases(paths, {MODEL})
        if await _figure(one, _WELL) != 0.0:
            raise Failed(f"{_WELL} 0 was expected, whichever worker is asked")
        os.kill(pids[1], signal.SIGKILL)
        await one.logged(event="worker died", status=-9)
        await _aliases(paths, {MODEL})
        if int((await _status(paths[1]))["pid"]) == pids[1]:
            raise Failed("another process in place of the killed worker was expected")
        one.own.write(good)


def _place() -> dict[str, Any]:
    """An address that stands in the file from the first: port 0 would be another one with every reading."""
    return {"listen": [f"127.0.0.1:{free_port()}"]}


async def _aliases(paths: list[str], names: set[str]) -> None:
    """Both workers serve exactly these."""
    for path in paths:
        seen = set((await _status(path))["aliases"])
        if seen != names:
            raise Failed(f"the aliases {names} were expected of the worker at {path}, seen {seen}")


async def _until_served(site: Site, name: str) -> None:
    async with asyncio.timeout(20.0):
        while name not in str((await site.get("/v1/models")).body):  # noqa: ASYNC110 - another process
            await asyncio.sleep(_LOOK)


async def _figure(site: Site, name: str) -> float:
    return sum(value for (one, _), value in (await figures(site.url)).items() if one == name)


async def _status(path: str) -> dict[str, Any]:
    async with asyncio.timeout(20.0):
        while True:
            try:
                return await _talk(path, "GET", "/status")
            except OSError:
                await asyncio.sleep(_LOOK)


async def _talk(path: str, method: str, route: str) -> dict[str, Any]:
    """One question over an admin socket."""
    async with asyncio.timeout(20.0):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(f"{method} {route} HTTP/1.1\r\nhost: penstock\r\nconnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
    document: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
    return document


_OURS = frozenset({Need.PROCESS, Need.PENSTOCK})
SCENARIOS = (
    Scenario(27, "poisoned", poisoned, _OURS, own=True, limit=120.0),
    Scenario(27, "live-backend", taken_away, _OURS, own=True),
    Scenario(27, "storm", storm, _OURS, own=True),
    Scenario(27, "all-or-none", all_or_none, _OURS, own=True),
)
