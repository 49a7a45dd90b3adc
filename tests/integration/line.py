"""A TCP proxy that can be cut, which makes a server unreachable without touching it."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

_HOST = "127.0.0.1"
_CHUNK = 65_536


class Line:
    """Forwards connections to `port` of this machine until it is cut.

    Cutting it drops every connection and refuses new ones, as a server that has died does.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]
        """Where clients connect, also while it is cut."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.cut()
        for thread in self._threads:
            thread.join()

    def cut(self) -> None:
        """Close all connections and refuse new ones."""
        _hang_up(self._listener)
        with self._lock:
            for each in self._open:
                _hang_up(each)

    def restore(self) -> None:
        """Forward new connections again."""
        self._listener = self._listen(self.port)

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server((_HOST, port))
        self._run(self._accept, listener)
        return listener

    def _accept(self, listener: socket.socket) -> None:
        with listener, suppress(OSError):
            while True:
                near, _ = listener.accept()
                try:
                    far = socket.create_connection((_HOST, self._target))
                except OSError:
                    near.close()
                    continue
                with self._lock:
                    self._open |= {near, far}
                self._run(self._serve, near, far)

    def _serve(self, near: socket.socket, far: socket.socket) -> None:
        back = threading.Thread(target=_pump, args=(far, near))
        back.start()
        _pump(near, far)
        back.join()
        with self._lock:
            self._open -= {near, far}
        near.close()
        far.close()

    def _run(self, work: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=work, args=arguments)
        self._threads.append(thread)
        thread.start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Copy until either end is closed, then close the other one too."""
    with suppress(OSError):
        while data := source.recv(_CHUNK):
            sink.sendall(data)
    _hang_up(source)
    _hang_up(sink)


def _hang_up(line: socket.socket) -> None:
    """Wake the thread that waits on this socket, which then closes it."""
    with suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
