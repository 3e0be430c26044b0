"""The stacks under test: how each is started in front of the mock engine, at its best for this work.

Each is one worker without access logs of its own except ours, which runs as it is installed, with every step on: see CONFIG. nginx
and haproxy do nothing of a gateway's work; they are the floor. One table at the end names them all.
"""

from __future__ import annotations

import getpass
import hashlib
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from bench import machine
from bench.processes import KEY, free_port

HERE = Path(__file__).parent
ROUTER = HERE / ".peers" / "vllm-router" / "bin" / "vllm-router"
SGLANG = HERE / ".peers" / "sglang-router" / "bin" / "sglang-router"
LITELLM = HERE / ".peers" / "litellm" / "bin" / "litellm"
PENSTOCK = Path(sys.executable).parent / "penstock"


@dataclass(frozen=True)
class Site:
    """Where one peer may put its files and listen, and where the engine is."""

    directory: Path
    port: int
    engine: int


@dataclass(frozen=True)
class Launch:
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Peer:
    name: str
    program: str | Path
    install: str
    version: Callable[[], str]
    launch: Callable[[Site], Launch]

    control: bool = False
    """A second copy of another peer, to see the noise."""
    only: tuple[str, ...] = ()
    """Scenarios or their beginnings, for a peer that is there for the sake of these; empty means all."""
    pinned: bool = True
    """To one processor; several workers are meant to have one each."""
    slow: bool = False
    """Too slow to fill the others' windows: it gets fewer and longer ones."""

    @property
    def missing(self) -> str | None:
        """What to do about it when the program is not there."""
        return None if shutil.which(self.program) else f"{self.name}: no {self.program}; {self.install}"


NGINX = """
daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
user {user};
pid {directory}/nginx.pid;
error_log stderr error;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    tcp_nodelay on;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    keepalive_requests 100000000;
    client_body_buffer_size 256k;
    upstream engine {{
        server 127.0.0.1:{engine};
        keepalive 2048;
        keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://engine;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 120s;
        }}
    }}
}}
"""


def nginx(site: Site) -> Launch:
    config = site.directory / "nginx.conf"
    config.write_text(
        NGINX.format(user=getpass.getuser(), directory=site.directory, engine=site.engine, port=site.port)
    )
    return Launch(("nginx", "-p", str(site.directory), "-c", str(config), "-e", "stderr"))


HAPROXY = """
global
    nbthread 1
    maxconn 8192
defaults
    mode http
    option http-keep-alive
    option abortonclose
    option http-no-delay
    http-reuse always
    timeout connect 2s
    timeout client 120s
    timeout server 120s
    timeout http-keep-alive 120s
frontend clients
    bind 127.0.0.1:{port} backlog 4096
    default_backend engine
backend engine
    server engine 127.0.0.1:{engine} pool-max-conn -1
"""


def haproxy(site: Site) -> Launch:
    config = site.directory / "haproxy.cfg"
    config.write_text(HAPROXY.format(port=site.port, engine=site.engine))
    return Launch(("haproxy", "-db", "-f", str(config)))


def vllm_router(site: Site) -> Launch:
    argv = [str(ROUTER), "--host", "127.0.0.1", "--port", str(site.port)]
    argv += ["--worker-urls", f"http://127.0.0.1:{site.engine}", "--policy", "round_robin", "--log-level", "error"]
    argv += ["--prometheus-port", str(free_port()), "--max-concurrent-requests", "8192"]
    return Launch(tuple(argv))


def sglang_router(site: Site) -> Launch:
    argv = [str(SGLANG), "launch", "--host", "127.0.0.1", "--port", str(site.port)]
    argv += ["--worker-urls", f"http://127.0.0.1:{site.engine}", "--policy", "round_robin", "--log-level", "error"]
    argv += ["--prometheus-port", str(free_port()), "--max-concurrent-requests", "8192"]
    return Launch(tuple(argv))


LITELLM_CONFIG = """
model_list:
  - model_name: mock
    litellm_params: {{model: openai/mock, api_base: "http://127.0.0.1:{engine}/v1", api_key: none}}
general_settings: {{master_key: {key}}}
"""
LITELLM_ENVIRONMENT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOG": "ERROR",
    "LITELLM_MODE": "PRODUCTION",
    "NO_DOCS": "True",
}


def litellm(site: Site) -> Launch:
    """Without a database, logging errors only, on its faster server; it does not start without a key to check."""
    config = site.directory / "config.yaml"
    config.write_text(LITELLM_CONFIG.format(engine=site.engine, key=KEY))
    argv = (str(LITELLM), "--config", str(config), "--host", "127.0.0.1", "--port", str(site.port))
    return Launch((*argv, "--num_workers", "1", "--run_granian"), LITELLM_ENVIRONMENT)


def uvloop_relay(site: Site) -> Launch:
    return Launch((sys.executable, str(HERE / "relay.py"), str(site.port), str(site.engine)))


# Two replicas (both are the one mock engine), so that affinity is at work: each request is tied to a replica by its caller and the
# beginning of its prompt, with bounded load. Keys, limits on every wait, watched streams, metrics, and a record of every request too.
CONFIG = """
listen: [127.0.0.1:{port}]
http: {http}
workers: {workers}
backends:
{backends}
aliases:
  mock:
    targets: [{{backends: [{names}], model: mock}}]
callers:
  bench: {{tenant: bench, key_sha256: {digest}{quota}}}
{receipts}limits: {{first_token: 120s, between_tokens: 120s}}
state: sqlite:///{directory}/penstock.db
admin: {directory}/admin.sock
"""


BACKEND = '  {name}: {{kind: vllm, url: "http://127.0.0.1:{engine}", slots: 8192}}'


# So large that nothing is refused: what they cost is counted, and each of them is kept.
QUOTA = ", limits: {requests_per_minute: 100000000, tokens_per_minute: 100000000000, tokens_per_day: 100000000000000}"
RECEIPTS = "receipts: {{folder: {directory}/receipts}}\n"


def penstock(
    http: str, workers: int = 1, names: tuple[str, ...] = ("one", "two"), *, audited: bool = False
) -> Callable[[Site], Launch]:
    def launch(site: Site) -> Launch:
        config = site.directory / "penstock.yaml"
        digest = hashlib.sha256(KEY.encode()).hexdigest()
        backends = "\n".join(BACKEND.format(name=name, engine=site.engine) for name in names)
        where = {"port": site.port, "directory": site.directory, "backends": backends, "names": ", ".join(names)}
        where["quota"] = QUOTA if audited else ""
        where["receipts"] = RECEIPTS.format(directory=site.directory) if audited else ""
        config.write_text(CONFIG.format(http=http, workers=workers, digest=digest, **where))
        return Launch((str(PENSTOCK), "serve", "--config", str(config)))

    return launch


def _nginx_version() -> str:
    return machine.first_line(["nginx", "-v"]).rpartition("/")[2]


def _haproxy_version() -> str:
    return machine.first_line(["haproxy", "-v"]).partition("version ")[2].split(" ")[0]


def _installed(program: Path, name: str) -> Callable[[], str]:
    """The version in the name of the installed distribution's metadata folder."""

    def version() -> str:
        found = sorted(program.parent.parent.glob(f"lib/python*/site-packages/{name}-*.dist-info"))
        return found[0].name.removeprefix(f"{name}-").removesuffix(".dist-info") if found else ""

    return version


def _uvloop_version() -> str:
    return metadata.version("uvloop")


def _penstock_version() -> str:
    return machine.first_line([str(PENSTOCK), "version"])


INSTALL = "run bench/install"
UP = "run `make install`"
FLOOR = "nginx"
AGAIN = "nginx again"
ROUTER_NAME = "vllm-router"
SGLANG_NAME = "sglang-router"
LITELLM_NAME = "litellm"
RELAY = "uvloop relay"
OURS = "penstock"
ONE_BACKEND = "penstock without affinity"
AUDITED = "penstock with quotas and receipts"
TWO = "penstock 2 workers"
REFERENCE = "penstock asgi"

# "nginx again" is a second, identical nginx: how far its ratio to the first strays from 1 is the noise of the run.
PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer(FLOOR, "nginx", INSTALL, _nginx_version, nginx),
        Peer(AGAIN, "nginx", INSTALL, _nginx_version, nginx, control=True),
        Peer("haproxy", "haproxy", INSTALL, _haproxy_version, haproxy),
        Peer(ROUTER_NAME, ROUTER, INSTALL, _installed(ROUTER, "vllm_router"), vllm_router),
        Peer(SGLANG_NAME, SGLANG, INSTALL, _installed(SGLANG, "sglang_router"), sglang_router),
        Peer(LITELLM_NAME, LITELLM, INSTALL, _installed(LITELLM, "litellm"), litellm, slow=True),
        Peer(RELAY, sys.executable, UP, _uvloop_version, uvloop_relay),
        Peer(OURS, PENSTOCK, UP, _penstock_version, penstock("hot")),
        Peer(ONE_BACKEND, PENSTOCK, UP, _penstock_version, penstock("hot", names=("one",)), only=("request-32",)),
        Peer(AUDITED, PENSTOCK, UP, _penstock_version, penstock("hot", audited=True), only=("request-32",)),
        Peer(TWO, PENSTOCK, UP, _penstock_version, penstock("hot", workers=2), only=("request-32",), pinned=False),
        Peer(REFERENCE, PENSTOCK, UP, _penstock_version, penstock("asgi")),
    )
}


def _nothing(site: Site) -> Launch:
    message = f"launching nothing in front of the engine at port {site.engine}"
    raise AssertionError(message)


# Not one of them: the way without a proxy, which says what the others add.
DIRECT = Peer("direct", "true", UP, str, _nothing)
