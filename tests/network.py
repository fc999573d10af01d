"""Keeps tests on this machine: whatever tries to connect elsewhere, or to look up a name, is refused, whichever library it uses."""

import socket
import sys
from ipaddress import ip_address
from typing import Any

LOCAL_NAMES = frozenset({"", "localhost", "localhost.localdomain", socket.gethostname()})
EVENTS = {"socket.connect": 1, "socket.sendto": 1, "socket.getaddrinfo": 0, "socket.gethostbyname": 0}
"""Python's audit events, and which of their arguments is the address (docs.python.org/3/library/audit_events.html)."""

attempts: list[str] = []
"""What was refused since the list was last cleared."""


class NetworkClosed(OSError):
    """A test tried to leave this machine."""


def close_off() -> None:
    """From now on, for good, this process reaches loopback and Unix sockets only."""
    sys.addaudithook(_audit)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if (position := EVENTS.get(event)) is not None and not _is_local(arguments[position]):
        attempts.append(f"{event} {arguments[position]!r}")
        raise NetworkClosed(f"tests stay on this machine: {event} {arguments[position]!r}")


def _is_local(address: Any) -> bool:
    if not isinstance(address, tuple | str | bytes | None):
        return True  # netlink, vsock and the like lead nowhere else
    host = address[0] if isinstance(address, tuple) else address
    if isinstance(host, bytes):
        host = host.decode(errors="replace")
    if host is None or host in LOCAL_NAMES or "/" in host or "\0" in host:
        return True
    try:
        return ip_address(host.partition("%")[0]).is_loopback or ip_address(host).is_unspecified
    except ValueError:
        return False
