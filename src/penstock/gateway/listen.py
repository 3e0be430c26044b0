"""Listening sockets: shared by workers, handed from an old process to a new one without losing a connection.

All are bound with SO_REUSEPORT. A connection that the kernel has accepted for a socket dies with it, so a process that
leaves first turns new connections away to its successors, takes in those that already wait, and only then closes.
"""

from __future__ import annotations

import asyncio
import ctypes
import socket
import ssl
import struct
import sys
from collections.abc import Callable, Sequence

from penstock.address import Address, parse_address
from penstock.config import Limits
from penstock.errors import ConfigError
from penstock.gateway.occupant import refuse_busy

BACKLOG = 2048
DOORS = 8
"""Handles that the loop has on each address; see `doors`."""
_SO_ATTACH_REUSEPORT_CBPF = 51
_LOAD_ABSOLUTE, _RETURN_A, _MODULO, _ADD = 0x20, 0x16, 0x94, 0x04
_QUEUE = 24
"""Where `tcpi_unacked` stands in struct tcp_info of linux/tcp.h: of a listener it is the length of its accept queue."""
_RANDOM = 0xFFFFF000 + 56
"""SKF_AD_OFF + SKF_AD_RANDOM of linux/filter.h: a random number."""


def bind(addresses: Sequence[str], *, takeover: bool, patience: float = 0.0) -> list[socket.socket]:
    """Bound sockets, not yet listening. A busy port is a `ConfigError` that names who answers there.

    `patience`: seconds after which a client counts as gone whose machine answers nothing; 0 leaves it to the system.
    """
    sockets = [_bind(parse_address(text), takeover=takeover) for text in addresses]
    for sock in sockets if patience else ():
        _watch(sock, patience)
    return sockets


def _bind(address: Address, *, takeover: bool) -> socket.socket:
    if address.port and not takeover:
        refuse_busy(address)
    sock = _socket(address)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((address.host, address.port))
    except OSError as error:
        sock.close()
        msg = f"Listening on {address}: {error.strerror or error}."
        raise ConfigError(
            msg, hint="Another user's process may hold the port; --takeover replaces only our own."
        ) from None
    return sock


def _socket(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return sock


def _watch(sock: socket.socket, patience: float) -> None:
    """Let the kernel find out about clients that vanish without a word; connections inherit it from their listener.

    Else an engine goes on for a machine that is gone until its answer is whole, or for a quarter of an hour.
    """
    if not sys.platform.startswith("linux"):
        return
    every = max(1, int(patience / 3))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, every)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, every)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(patience * 1000))


def name(sock: socket.socket) -> str:
    """`host:port` as it turned out."""
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def doors(sock: socket.socket) -> list[socket.socket]:
    """Further handles on a listening socket, for the loop to accept on as well.

    libuv accepts one connection per handle and round of the loop (since 1.46). A round with hundreds of busy streams takes
    10 ms and more: with a single handle new clients would wait for many seconds while those already in are served.
    """
    return [sock.dup() for _ in range(DOORS - 1)]


async def serve_tls(
    sockets: Sequence[socket.socket],
    make: Callable[[], asyncio.BaseProtocol],
    context: ssl.SSLContext | None,
    limits: Limits,
) -> list[asyncio.Server]:
    """Accept on these sockets. uvicorn sets no limit for a handshake, and the loop's own is a minute."""
    loop = asyncio.get_running_loop()
    return [
        await loop.create_server(
            make,
            sock=sock,
            ssl=context,
            backlog=BACKLOG,
            ssl_handshake_timeout=limits.head,
            # What is unsent when an answer closes goes within this; the guard drops who takes nothing much sooner.
            ssl_shutdown_timeout=limits.total,
        )
        for sock in sockets
    ]


def waiting(sock: socket.socket) -> int:
    """Connections that the kernel has accepted for this listener and nobody has taken in yet; 0 where it does not say."""
    if not sys.platform.startswith("linux"):
        return 0
    told = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _QUEUE + 4)
    return int.from_bytes(told[_QUEUE:], sys.byteorder)


def turn_away(sock: socket.socket, older: int) -> None:
    """Let new connections go to the processes that bound this port after us.

    The kernel numbers the sockets of a port in the order they were bound; `older` of them are this gateway's own. The
    filter picks a number behind those, and where nobody is there the kernel falls back to its usual choice.
    """
    if not sys.platform.startswith("linux"):
        return
    program = b"".join(
        struct.pack("=HBBI", *instruction)
        for instruction in (
            (_LOAD_ABSOLUTE, 0, 0, _RANDOM),
            (_MODULO, 0, 0, older),
            (_ADD, 0, 0, older),
            (_RETURN_A, 0, 0, 0),
        )
    )
    buffer = ctypes.create_string_buffer(program)
    fprog = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, fprog)
    except OSError:
        # A kernel without this filter: the window between the last accept and the close stays, a few microseconds.
        return
