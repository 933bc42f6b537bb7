"""A relay in front of an FTP server: sees what passes, and holds or cuts it at a chosen byte."""

from __future__ import annotations

import contextlib
import math
import socket
import threading
from urllib.parse import urlsplit

from ftp_servers import RELAY_HOST, FTPServer

import dsgo.ftp_connection as ftp_connection
from dsgo import settings

BLOCK = 1 << 16


class Relay:
    """Passes connections to all ports of `server` on from another loopback address."""

    def __init__(self, server: FTPServer, host: str = RELAY_HOST) -> None:
        self.port, self.sessions, self.cuts, self.moved = server.port, 0, 0, 0
        self.uri = f"{'ftps' if server.tls else 'ftp'}://{host}:{server.port}{urlsplit(server.uri).path}"
        self.commands = bytearray()  # what clients sent on control connections
        self.holding = threading.Event()
        self._cut_at = self._hold_at = math.inf
        self._released = threading.Event()
        self._released.set()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listeners = [socket.create_server((host, number)) for number in (server.port, *server.passive_ports)]

    def __enter__(self) -> Relay:
        for listener in self._listeners:
            self._run(self._accept, listener)
        return self

    def __exit__(self, *args) -> None:
        ftp_connection.close_pools()
        for listener in self._listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive()

    def cut_after(self, count: int) -> None:
        """Break all connections, once, when `count` further bytes have passed."""
        self.moved, self._cut_at = 0, count

    def hold_after(self, count: int) -> None:
        """Let nothing pass after `count` further bytes, until `cut`; `holding` is set then."""
        self._released.clear()
        self.holding.clear()
        self.moved, self._hold_at = 0, count

    def cut(self) -> None:
        """Break all connections; new ones pass."""
        with self._lock:
            self._hold_at = math.inf
            for connection in self._open:
                _break(connection)
            self._open.clear()
        self._released.set()

    def _run(self, function, *args) -> None:
        thread = threading.Thread(target=function, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        port = listener.getsockname()[1]
        while True:
            try:
                here, _ = listener.accept()
            except OSError:
                return  # closed
            try:
                there = socket.create_connection((settings.HOST, port))
            except OSError:
                here.close()
                continue
            with self._lock:
                self.sessions += port == self.port
                self._open |= {here, there}
            self._run(self._copy, here, there, port == self.port)
            self._run(self._copy, there, here, False)

    def _copy(self, source: socket.socket, target: socket.socket, commands: bool) -> None:
        try:
            while data := source.recv(BLOCK):
                if commands:
                    self.commands += data
                with self._lock:
                    self.moved += len(data)
                    cut, hold = self.moved > self._cut_at, self.moved > self._hold_at
                if cut:
                    self._cut_at, self.cuts = math.inf, self.cuts + 1
                    self.cut()
                    return
                if hold:
                    self.holding.set()
                    self._released.wait()
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:  # the other side has broken off, so this one does too
            _break(source)
            _break(target)


def _break(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()  # else the sender would wait for room in its buffers
