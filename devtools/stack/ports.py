"""Ports and HTTP on this machine."""

import os
import random
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from devtools.stack.processes import Process, StackError

HOST = "127.0.0.1"
_HIGHEST_PORT = 65_535
_CANDIDATES = range(20_000, 30_000)
"""Below every system's ephemeral ports: a part that is restarted finds its port still free."""
_TRIES = 200
_assigned: set[int] = set()
"""They may not be in use yet, or while their part is being restarted."""


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` of this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a connection in TIME_WAIT does not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    """`count` different ports that are free and that no process has been assigned yet."""
    chosen: list[int] = []
    for port in random.SystemRandom().sample(_CANDIDATES, _TRIES):
        if port not in _assigned and is_free(port) and _assign(port):
            chosen.append(port)
        if len(chosen) == count:
            return chosen
    raise StackError(f"{count} free ports were not found between 20000 and 30000.")


def _assign(port: int) -> bool:
    """Keep the port for this process; False if another one has it.

    By a name that ends with the process, which only Linux has: elsewhere, two processes that choose
    the same port before either uses it are not kept apart.
    """
    if sys.platform == "linux":
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as name:
            try:
                name.bind(f"\0signedfor-port-{port}")
            except OSError:
                return False
            name.detach()  # it stays open
    _assigned.add(port)
    return True


@dataclass(frozen=True, kw_only=True)
class Ports:
    """Where the parts listen, on this machine only."""

    temporal: int
    temporal_ui: int
    webhook: int
    sandbox: int
    ops: int
    codec: int

    @classmethod
    def free(cls) -> Self:
        """Ports that are not in use."""
        temporal, temporal_ui, webhook, sandbox, ops, codec = free_ports(6)
        return cls(
            temporal=temporal,
            temporal_ui=temporal_ui,
            webhook=webhook,
            sandbox=sandbox,
            ops=ops,
            codec=codec,
        )


def port_from(name: str, default: int) -> int:
    """The port in environment variable `name`.

    Raises:
        StackError: it is not a port, or is taken; the text names the variable.
    """
    text = os.environ.get(name) or str(default)
    if not (text.isascii() and text.isdecimal() and 0 < int(text) <= _HIGHEST_PORT):
        raise StackError(f"{name} must be a port number from 1 to 65535.")
    if not is_free(int(text)):
        raise StackError(
            f"Port {text} is taken. Stop the process that uses it, or set {name} to another port."
        )
    _assign(int(text))
    return int(text)


def answers(url: str) -> Callable[[Process], bool]:
    """Ready when `url`, on this machine, answers with a 2xx."""
    # Never through a proxy: these addresses are local.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def check(_process: Process) -> bool:
        try:
            with opener.open(url, timeout=3):
                return True
        except (urllib.error.URLError, OSError):
            return False

    return check
